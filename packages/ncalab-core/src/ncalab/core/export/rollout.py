"""A prediction as a program: image and seed in, states and what is read out of them out."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.while_loop import while_loop_op
from torch.export import ExportedProgram

from ncalab.core.export.steps import RecordedStep, Step, record
from ncalab.core.model import AbstractNCAModel
from ncalab.core.runner import ExportPlan
from ncalab.core.tracing import tracing


def export_plan(model: AbstractNCAModel) -> ExportPlan:
    """Return in which order a model takes its steps, and what happens between them."""
    return ExportPlan([model]) if model.runner is None else model.runner.export_plan()


class ExportedRollout(nn.Module):
    """A prediction of :meth:`AbstractNCAModel.predict` as one module whose forward can be recorded.

    Steps run in a loop (torch's ``while_loop``), so that weights and operations are stored once
    however many steps there are.

    Args:
        model: Model, in evaluation mode.
        steps: Number of steps, None to make it an input.
        fire_rate: Probability that a cell fires in place of the models' own.
        unroll: Whether to record every step on its own.
    """

    def __init__(
        self, model: AbstractNCAModel, steps: int | None, fire_rate: float | None, *, unroll: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.plan = export_plan(model)
        rates = [m.fire_rate if fire_rate is None else fire_rate for m in self.plan.models]
        self.is_random = any(0 < rate < 1 for rate in rates)
        # Modules, so that their weights are found; typed as what they are beside.
        self.places = [Step(m, rate) for m, rate in zip(self.plan.models, rates, strict=True)]
        self.steps = nn.ModuleList(self.places)
        self.recorded = [] if unroll else self._record_steps()
        self.constants = nn.ModuleList(self.recorded)
        self.counts = None if steps is None else self._share(torch.tensor(steps))

    def record(self, inputs: dict[str, Tensor]) -> ExportedProgram:
        """Record :meth:`forward`, given examples of its arguments."""
        # The coarsest grid of a chain has fewer cells: 128 leave some of any sensible scale.
        return record(self, inputs, smallest=2 if len(self.steps) == 1 else 128)

    def _record_steps(self) -> list[RecordedStep]:
        """Record the step of every place; where a model occurs again, take it from there."""
        known: dict[int, RecordedStep] = {}
        for step in self.places:
            if id(step.model) not in known:
                known[id(step.model)] = RecordedStep(step, is_random=self.is_random)
        return [known[id(step.model)] for step in self.places]

    def _share(self, steps: Tensor) -> list[int]:
        return [int(count) for count in self.plan.share(steps)]

    def forward(
        self,
        image: Tensor,
        steps: Tensor | None = None,
        seed: Tensor | None = None,
        goal: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Predict.

        Args:
            image: Images ``(B, image channels, W, H)`` or states ``(B, C, W, H)``.
            steps: Number of steps, shape ``()``, int64; None if it is fixed.
            seed: Seed of the fire masks in ``[0, 2**63)``, shape ``()``, int64; None if they
                are not random.
            goal: Goals as :meth:`Automaton.encode_goal` takes them; None for a model without.

        Returns:
            "logits", "state" and what the model's ``export_outputs`` adds.
        """
        with tracing():
            x = self.model.start_state(image)
            state = self.plan.leave(self._run(x, steps, seed, goal), x)
            prediction = self.model.read_out(state, sum(self.counts or [0]))
            prediction = self.model.post_prediction(prediction)
            outputs = {"logits": prediction.logits, "state": prediction.output_image}
            return {**outputs, **self.model.export_outputs(prediction)}

    def _run(
        self, x: Tensor, steps: Tensor | None, seed: Tensor | None, goal: Tensor | None
    ) -> Tensor:
        """Take the steps of every place."""
        state: Tensor = x
        taken: Any = 0
        counts: Sequence[Any] = (self.counts or []) if steps is None else self.plan.share(steps)
        for place, count in enumerate(counts):
            state = self.plan.enter(place, state, x)
            run = self._loop if self.recorded else self._unroll
            # Each model has vectors of its own for the goals that are named by an index.
            vectors = self.places[place].model.encode_goal(goal, x.shape[0])
            state = run(place, state, taken, taken + count, seed, vectors)
            taken = taken + count
        return state

    def _unroll(
        self,
        place: int,
        state: Tensor,
        start: int,
        stop: int,
        seed: Tensor | None,
        goal: Tensor | None,
    ) -> Tensor:
        for step in range(start, stop):
            state = self.places[place].forward(state, step, seed, goal)
        return state

    def _loop(
        self,
        place: int,
        state: Tensor,
        start: Any,
        stop: Any,
        seed: Tensor | None,
        goal: Tensor | None,
    ) -> Tensor:
        recorded = self.recorded[place]
        first, last = (_as_tensor(number, state) for number in (start, stop))
        given = [value for value in (seed, goal) if value is not None]

        def goes_on(step: Tensor, _state: Tensor, last: Tensor, *_: Tensor) -> Tensor:
            return step < last

        def advance(step: Tensor, state: Tensor, *others: Tensor) -> tuple[Tensor, Tensor]:
            inputs, weights = others[1 : 1 + len(given)], others[1 + len(given) :]
            return step + 1, recorded.run(weights, state, step, *inputs)

        # torch's function of that name would compile them first; they are recorded already.
        run: Any = while_loop_op
        outside = (last, *given, *recorded.weights(self.places[place]))
        ended: Tensor = run(goes_on, advance, (first, state), outside)[1]
        return ended


def _as_tensor(number: Tensor | int, state: Tensor) -> Tensor:
    if isinstance(number, Tensor):
        return number.clone()
    return torch.full((), number, dtype=torch.int64, device=state.device)
