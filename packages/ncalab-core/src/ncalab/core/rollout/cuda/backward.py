"""The CUDA engine's rollout as one autograd node, checkpointed or not."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ncalab.core.rollout.cuda.launch import LaunchPlan
from ncalab.core.rollout.cuda.precision import Precision, on_device
from ncalab.core.rollout.cuda.reverse import Reverse
from ncalab.core.rollout.cuda.step import Stepper, times_of
from ncalab.core.rollout.double_backward import must_replay, replay_backward
from ncalab.core.rollout.replay import replay
from ncalab.core.rollout.spec import RolloutSpec


class Rollout(torch.autograd.Function):
    """A rollout of a standard model, differentiable with respect to states and parameters.

    What is kept of each step is the state before it and, with an alive mask, a byte for each cell;
    checkpointed, only the state before each segment. All else is computed again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        spec: RolloutSpec,
        segment: int | None,
        precision: Precision,
        x: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        """Run the steps and keep what the backward pass needs."""
        plan = LaunchPlan.from_tensors(spec, precision, x, parameters)
        stepper = Stepper(plan, spec.clock.keys, times_of(plan, x.device), parameters)
        last, kept = _take(stepper, stepper.begin(x), spec.clock.steps, segment)
        ctx.plan, ctx.segment = plan, segment
        # Through save_for_backward, so that torch's checkpointing and saved-tensor hooks see them.
        ctx.save_for_backward(x, *parameters, *kept)
        return stepper.state(last)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Go through the steps in reverse, recomputing what each one perceived."""
        # Asked for once: torch's checkpointing unpacks saved tensors at every access.
        saved = iter(ctx.saved_tensors)
        x, *parameters = islice(saved, 5)
        plan, segment, wanted = ctx.plan, ctx.segment, ctx.needs_input_grad[3:]
        if must_replay(gradient):
            function, inputs = partial(replay, plan.spec, segment), (x, *parameters)
            return (None, None, None, *replay_backward(function, inputs, gradient, wanted))
        clock = plan.spec.clock
        with on_device(gradient):
            stepper = Stepper(plan, clock.keys, times_of(plan, gradient.device), parameters)
            reverse = Reverse(stepper, gradient, wanted=wanted[1:])
            kept = list(saved)
            if segment is None:
                _take_back(reverse, 0, kept)
            else:
                for i in reversed(range(len(kept))):
                    count = min(segment, clock.steps - i * segment)
                    _, records = _record(stepper, kept[i], i * segment, count)
                    _take_back(reverse, i * segment, records)
            gradients = reverse.gradients()
        return (
            None,
            None,
            None,
            *(g if w else None for g, w in zip(gradients, wanted, strict=True)),
        )


def _take(
    stepper: Stepper, grid: Tensor, steps: int, segment: int | None
) -> tuple[Tensor, Sequence[Tensor]]:
    """Take all steps; return the last states and what is kept of the others."""
    if segment is None:
        return _record(stepper, grid, 0, steps)
    kept, alive = [], stepper.no_mask()
    other = torch.empty_like(grid)
    for step in range(steps):
        if step % segment == 0:
            kept.append(grid.clone())
        stepper.take(step, grid, other, alive)
        grid, other = other, grid
    return grid, kept


def _record(
    stepper: Stepper, grid: Tensor, start: int, count: int
) -> tuple[Tensor, Sequence[Tensor]]:
    """Take some steps; return the states after them, and of each the states and the alive mask."""
    records = []
    for step in range(start, start + count):
        target, alive = torch.empty_like(grid), stepper.no_mask()
        stepper.take(step, grid, target, alive)
        records += [grid, alive]
        grid = target
    return grid, records


def _take_back(reverse: Reverse, start: int, records: Sequence[Tensor]) -> None:
    """Take the gradient back over recorded steps, the last of them first."""
    for i in reversed(range(len(records) // 2)):
        reverse.step(start + i, records[2 * i], records[2 * i + 1])
