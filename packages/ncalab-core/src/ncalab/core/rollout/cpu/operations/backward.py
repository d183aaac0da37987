"""The CPU engine's rollout as one autograd node, checkpointed or not."""

from collections.abc import Sequence
from functools import partial, reduce
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ncalab.core.rollout.cpu.operations.reverse import Reverse
from ncalab.core.rollout.cpu.operations.stepper import Phase, Stepper, Tape, make_shares
from ncalab.core.rollout.cpu.threads import run_shares
from ncalab.core.rollout.double_backward import must_replay, replay_backward
from ncalab.core.rollout.replay import replay
from ncalab.core.rollout.spec import RolloutSpec, Weights


class Snapshot(NamedTuple):
    """A state that the steps after it can be taken again from.

    Attributes:
        step: The next step.
        phase: The phase of that step.
        grid: Framed states before it, shape ``(B, W + 2r, H + 2r, C)``.
    """

    step: int
    phase: Phase
    grid: Tensor


# Neurons of a rollout up to that size are kept for the backward pass. Beyond, the memory that they
# take must be faulted in page by page, which takes longer than computing them again.
KEPT_BYTES = 64 * 2**20
# Where memory is to be saved, only those that weigh nothing beside the program itself.
KEPT_BYTES_LEAN = 4 * 2**20
# Of a tape and of a snapshot, the first two fields are not tensors.
_PLAIN = 2


class Rollout(torch.autograd.Function):
    """A rollout of a standard model, differentiable with respect to states and parameters."""

    @staticmethod
    def forward(
        ctx: Any, spec: RolloutSpec, segment: int | None, x: Tensor, *parameters: Tensor
    ) -> Tensor:
        """Run the steps and keep what the backward pass needs of each, or of each segment."""
        weights = Weights.from_parameters(spec, *parameters)
        shares = make_shares(spec, x)
        done = run_shares(lambda share: _take(*share, weights, segment), shares)
        ctx.spec, ctx.segment = spec, segment
        ctx.specs = [part for part, _ in shares]
        ctx.plain = [[record[:_PLAIN] for record in records] for _, records in done]
        # Through save_for_backward, so that torch's checkpointing and saved-tensor hooks see them.
        tensors = [t for _, records in done for record in records for t in record[_PLAIN:]]
        ctx.save_for_backward(x, *parameters, *tensors)
        return torch.cat([state for state, _ in done])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Go through the steps in reverse, recomputing what each one perceived."""
        # Asked for once: torch's checkpointing unpacks saved tensors at every access.
        saved = iter(ctx.saved_tensors)
        x, *parameters = islice(saved, 5)
        if must_replay(gradient):
            function = partial(replay, ctx.spec, ctx.segment)
            inputs, needed = (x, *parameters), ctx.needs_input_grad[2:]
            return (None, None, *replay_backward(function, inputs, gradient, needed))
        kind = Tape if ctx.segment is None else Snapshot
        count = len(kind._fields) - _PLAIN
        records = [[kind(*own, *islice(saved, count)) for own in plain] for plain in ctx.plain]
        parts = gradient.split([len(spec.clock.samples) for spec in ctx.specs])
        wanted = ctx.needs_input_grad[3:]
        of_shares = run_shares(
            lambda share: _take_back(*share, tuple(parameters), wanted, ctx.segment),
            list(zip(ctx.specs, parts, records, strict=True)),
        )
        d_states, *d_parameters = zip(*of_shares, strict=True)
        gradients = (torch.cat(d_states), *(reduce(torch.add, parts) for parts in d_parameters))
        needed = zip(gradients, ctx.needs_input_grad[2:], strict=True)
        return (None, None, *(value if is_needed else None for value, is_needed in needed))


def _take(
    spec: RolloutSpec, x: Tensor, weights: Weights, segment: int | None
) -> tuple[Tensor, Sequence[Tape | Snapshot]]:
    """Run a share; return its last states and the records of its steps or segments."""
    with torch.no_grad():
        stepper = Stepper.begin(spec, x, weights)
        if segment is None:
            keep = neurons_bytes(spec, stepper, len(spec.steps)) <= KEPT_BYTES
            tapes = [stepper.record(step, keep=keep) for step in spec.steps]
            return stepper.state(), tapes
        snapshots = []
        for step in spec.steps:
            if (step - spec.steps.start) % segment == 0:
                snapshots.append(Snapshot(step, stepper.phase_at(step), stepper.grid.clone()))
            stepper.step(step)
        return stepper.state(), snapshots


def _take_back(
    spec: RolloutSpec,
    gradient: Tensor,
    records: Sequence[Tape | Snapshot],
    parameters: tuple[Tensor, ...],
    wanted: tuple[bool, ...],
    segment: int | None,
) -> tuple[Tensor, ...]:
    """Take a share's gradient back; return those of its states and of the parameters."""
    with torch.no_grad():
        weights = Weights.from_parameters(spec, *parameters)
        reverse = Reverse(spec, gradient, weights, wanted=wanted)
        for record in reversed(records):
            tapes = (
                [record] if isinstance(record, Tape) else _retake(spec, weights, record, segment)
            )
            for tape in reversed(tapes):
                reverse.step(tape)
        return reverse.gradients()


def _retake(
    spec: RolloutSpec, weights: Weights, snapshot: Snapshot, segment: int | None
) -> list[Tape]:
    """Take the steps of a segment again."""
    stepper = Stepper.resume(spec, snapshot.grid, snapshot.phase, weights)
    first = snapshot.step - spec.steps.start
    steps = spec.steps[first:][:segment]
    keep = neurons_bytes(spec, stepper, len(steps)) <= KEPT_BYTES_LEAN
    return [stepper.record(step, keep=keep) for step in steps]


def neurons_bytes(spec: RolloutSpec, stepper: Stepper, steps: int) -> float:
    """Return how much the neurons of all updated cells take over some steps, in bytes."""
    batch, width, height, _ = stepper.shape
    into = stepper.weights.into
    rows = batch * width * height * spec.clock.fire_rate * steps
    return rows * sum(into.shape) * into.element_size()
