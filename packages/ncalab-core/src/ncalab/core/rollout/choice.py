"""Choice of the engine: the fast one of the device where that is exactly equivalent."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.fire import FireClock
from ncalab.core.options import Engine, OnStep
from ncalab.core.perception.filters import check_border
from ncalab.core.rollout import reference
from ncalab.core.rollout.cpu import compiled
from ncalab.core.rollout.cpu.operations import engine as operations
from ncalab.core.rollout.cpu.threads import note_operations
from ncalab.core.rollout.cuda import engine as cuda
from ncalab.core.rollout.standard import why_not_standard, why_unknown_step


def run(
    model: Automaton,
    x: Tensor,
    clock: FireClock,
    engine: Engine = "auto",
    on_step: OnStep | None = None,
    segment: int | None = None,
) -> Tensor:
    """Run the steps of ``clock`` on the engine that was asked for.

    Args:
        model: Model whose rule all cells follow.
        x: States, shape ``(B, C, W, H)``; not changed.
        clock: Which steps to run, and which cells fire in them.
        engine: See :func:`ncalab.core.rollout.rollout`.
        on_step: Called with (number of steps taken so far, state); true ends the rollout.
        segment: Steps between the states that are kept for the backward pass; None to keep
            what every step needs.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.

    Raises:
        ValueError: If the engine is "fused" and cannot serve, or if there is not enough memory for
            a border as wide as filters reach.
    """
    if engine == "reference":
        note_operations()
        return reference.run(model, x, clock, on_step, segment)
    for bank in model.perception.filter_banks() or []:
        check_border(bank.filters.shape[-1], bank.dilation, x)
    reason = why_not_fused(model, x, on_step)
    if model.use_alive_mask and len(clock.stretches) > 1:
        reason = reason or "the alive mask ends at the border that the columns go around"
    # The kernels, and lines of a grid of one axis, count cells on from the first one.
    counts_on = x.is_cuda or x.ndim == 3
    counted = clock.without_columns(math.prod(x.shape[3:])) if counts_on else clock
    if counted is None:
        reason = reason or "the columns go around the border of the grid"
    if counted is not None and reason is None:
        return _fast_engine(model, x)(model, x, counted, on_step, segment)
    if engine == "fused":
        raise ValueError(f"engine must not be 'fused' for this rollout: {reason}")
    note_operations()
    return reference.run(model, x, clock, on_step, segment)


def _fast_engine(model: Automaton, x: Tensor) -> Callable[..., Tensor]:
    """Return the fastest engine for a rollout that a fast one can serve."""
    if x.is_cuda:
        return cuda.run
    if compiled.why_not_compiled(model, x):
        note_operations()
        return operations.run
    return compiled.run


def why_not_fused(model: Automaton, x: Tensor, on_step: OnStep | None = None) -> str | None:
    """Say why a rollout cannot run on a fast engine; None if it can."""
    if x.device.type not in ("cpu", "cuda"):
        return f"no fast engine runs on {x.device.type}"
    if on_step is not None and torch.is_grad_enabled():
        return "on_step sees states that gradients may be wanted of"
    return cuda.why_not_cuda(model, x) if x.is_cuda else _why_not_on_cpu(model, x)


def _why_not_on_cpu(model: Automaton, x: Tensor) -> str | None:
    if why_not_standard(model, x) is None:
        return None
    return why_unknown_step(model, x) or compiled.why_not_compiled(model, x)
