"""Rollouts by the compiled functions, with and without gradients."""

from collections.abc import Sequence
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.fire import FireClock
from ncalab.core.options import OnStep
from ncalab.core.rollout.cpu.compiled.batch import Batch, Cells
from ncalab.core.rollout.cpu.compiled.choice import is_perceptron
from ncalab.core.rollout.cpu.compiled.parameters import read_model
from ncalab.core.rollout.cpu.compiled.perceptron import PerceptronCells
from ncalab.core.rollout.cpu.compiled.programs import read_program
from ncalab.core.rollout.double_backward import must_replay, replay_backward


def run(
    model: Automaton,
    x: Tensor,
    clock: FireClock,
    on_step: OnStep | None = None,
    segment: int | None = None,
) -> Tensor:
    """Run the steps of ``clock`` on the CPU.

    Args:
        model: Model that :func:`ncalab.core.rollout.cpu.compiled.why_not_compiled` accepts.
        x: States, shape ``(B, C, W, H)``; not changed.
        clock: Which steps to run, and which cells fire in them.
        on_step: Called with (number of steps taken so far, state); true ends the rollout. Only
            without gradients.
        segment: Steps between the states that are kept for the backward pass, which takes the
            steps again from them; None to keep what every step needs.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.
    """
    if not is_perceptron(model):
        return run_cells(*read_program(model, clock), x, on_step, segment)
    spec, parameters = read_model(model, clock)
    return run_cells(PerceptronCells(spec), parameters, x, on_step, segment)


def run_cells(
    cells: Cells,
    parameters: Sequence[Tensor],
    x: Tensor,
    on_step: OnStep | None = None,
    segment: int | None = None,
) -> Tensor:
    """Run a rollout.

    Args:
        cells: What all cells do.
        parameters: What the rollout is differentiated with respect to, besides the states.
        x: As in :func:`run`.
        on_step: As in :func:`run`.
        segment: As in :func:`run`.

    Returns:
        States after the last step, shape ``(B, C, *grid)``.
    """
    if torch.is_grad_enabled() and any(p.requires_grad for p in (x, *parameters)):
        result: Tensor = CompiledRollout.apply(cells, segment, x, *parameters)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return result
    with torch.no_grad():
        batch = Batch(cells, parameters, x)
        if on_step is None:
            return batch.run()
        return batch.watch(on_step)


class CompiledRollout(torch.autograd.Function):
    """A rollout, differentiable with respect to states and parameters."""

    @staticmethod
    def forward(ctx: Any, cells: Cells, segment: int | None, x: Tensor, *tensors: Tensor) -> Tensor:
        """Run the steps and keep what the backward pass needs of each, or of each segment."""
        batch = Batch(cells, tensors, x)
        out, recorded = batch.record(segment)
        ctx.cells, ctx.segment, ctx.division = cells, segment, batch.division
        ctx.plain = [record.plain() for record in recorded]
        # Through save_for_backward, so that torch's checkpointing and saved-tensor hooks see them.
        kept = [tensor for record in recorded for tensor in record.tensors()]
        ctx.save_for_backward(x, *tensors, *kept)
        ctx.count = len(tensors)
        return out

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Undo the steps one by one, and take the gradient back over each."""
        # Asked for once: torch's checkpointing unpacks saved tensors at every access.
        saved = iter(ctx.saved_tensors)
        x, *parameters = islice(saved, 1 + ctx.count)
        if must_replay(gradient):
            function, inputs = partial(ctx.cells.replay, ctx.segment), (x, *parameters)
            found = replay_backward(function, inputs, gradient, ctx.needs_input_grad[2:])
            return (None, None, *found)
        recorded = [plain.filled(saved) for plain in ctx.plain]
        # States are not needed again: what is undone starts from the last ones.
        batch = Batch(ctx.cells, parameters, gradient, ctx.division)
        d_x, d_parameters = batch.take_back(
            gradient, recorded, ctx.segment, ctx.needs_input_grad[3:]
        )
        needed = zip((d_x, *d_parameters), ctx.needs_input_grad[2:], strict=True)
        return (None, None, *(value if is_needed else None for value, is_needed in needed))
