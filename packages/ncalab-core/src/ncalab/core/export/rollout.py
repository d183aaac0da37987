"""A prediction as a program: image and seed in, states and what is read out of them out."""

from typing import Any

import torch
from torch import Tensor, nn
from torch._higher_order_ops.while_loop import while_loop_op

from ncalab.core.export.steps import RecordedStep, Step
from ncalab.core.model import AbstractNCAModel
from ncalab.core.tracing import tracing


class ExportedRollout(nn.Module):
    """What :meth:`AbstractNCAModel.predict` computes, as one module whose forward can be recorded.

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
        self.plan = model._export_plan()
        rates = [m.fire_rate if fire_rate is None else fire_rate for m in self.plan.models]
        self.is_random = any(0 < rate < 1 for rate in rates)
        self.steps = nn.ModuleList(map(Step, self.plan.models, rates))
        self.recorded = nn.ModuleList() if unroll else self._record_steps()
        self.counts = None if steps is None else self._share(torch.tensor(steps))

    def _record_steps(self) -> nn.ModuleList:
        """Record the step of every place; where a model occurs again, take it from there."""
        known: dict[int, RecordedStep] = {}
        for step in self.steps:
            if id(step.model) not in known:
                known[id(step.model)] = RecordedStep(step, is_random=self.is_random)
        return nn.ModuleList(known[id(step.model)] for step in self.steps)

    def _share(self, steps: Tensor) -> list[int]:
        return [int(count) for count in self.plan.share(steps)]

    def forward(
        self, image: Tensor, steps: Tensor | None = None, seed: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Predict.

        Args:
            image: Images ``(B, image channels, W, H)`` or states ``(B, C, W, H)``.
            steps: Number of steps, shape ``()``, int64; None if it is fixed.
            seed: Seed of the fire masks in ``[0, 2**63)``, likewise; None if they are not random.

        Returns:
            "logits", "state" and what the model's ``export_outputs`` adds.
        """
        with tracing():
            x = self.model._first_state(image, None)
            state = self.plan.leave(self._run(x, steps, seed), x)
            prediction = self.model._read_out(state, sum(self.counts or [0]))
            prediction = self.model.post_prediction(prediction)
            outputs = {"logits": prediction.logits, "state": prediction.output_image}
            return {**outputs, **self.model.export_outputs(prediction)}

    def _run(self, x: Tensor, steps: Tensor | None, seed: Tensor | None) -> Tensor:
        """Take the steps of every place."""
        state, taken = x, 0
        counts = self.plan.share(steps) if steps is not None else self.counts or []
        for place, count in enumerate(counts):
            state = self.plan.enter(place, state, x)
            run = self._loop if self.recorded else self._unroll
            state = run(place, state, taken, taken + count, seed)
            taken = taken + count
        return state

    def _unroll(
        self, place: int, state: Tensor, start: int, stop: int, seed: Tensor | None
    ) -> Tensor:
        for step in range(start, stop):
            state = self.steps[place](state, step, seed)
        return state

    def _loop(
        self, place: int, state: Tensor, start: Any, stop: Any, seed: Tensor | None
    ) -> Tensor:
        recorded = self.recorded[place]
        first, last = (self._as_tensor(number, state) for number in (start, stop))
        seeds = [] if seed is None else [seed]

        def goes_on(step: Tensor, state: Tensor, last: Tensor, *others: Tensor) -> Tensor:
            return step < last

        def advance(
            step: Tensor, state: Tensor, last: Tensor, *others: Tensor
        ) -> tuple[Tensor, Tensor]:
            weights = others[len(seeds) :]
            return step + 1, recorded.run(weights, state, step, *others[: len(seeds)])

        # torch's function of that name would compile them first; they are recorded already.
        outside = (last, *seeds, *recorded.weights(self.steps[place]))
        return while_loop_op(goes_on, advance, (first, state), outside)[1]

    @staticmethod
    def _as_tensor(number: Tensor | int, state: Tensor) -> Tensor:
        if isinstance(number, Tensor):
            return number.clone()
        return torch.full((), number, dtype=torch.int64, device=state.device)
