"""The reference engine: one step after the other, as the model defines them."""

from dataclasses import replace

import torch
import torch.utils.checkpoint
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.fire import FireClock
from ncalab.core.options import OnStep


def run(
    model: Automaton,
    x: Tensor,
    clock: FireClock,
    on_step: OnStep | None = None,
    segment: int | None = None,
) -> Tensor:
    """Run the steps of ``clock`` through ``model._forward_step``, whatever it does.

    Args:
        model: Model whose rule all cells follow.
        x: States, shape ``(B, C, W, H)``; not changed.
        clock: Which steps to run, and which cells fire in them.
        on_step: Called with (number of steps taken so far, state); true ends the rollout.
        segment: Steps between the states that are kept for the backward pass; None to keep
            everything. Without effect if ``on_step`` is given, which may use every state.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.
    """
    if segment is not None and on_step is None and torch.is_grad_enabled():
        return _run_segments(model, x, clock, segment)
    with clock.running():
        for step in range(clock.start, clock.start + clock.steps):
            x = model._post_forward_step(model._forward_step(x, step))
            if on_step is not None and on_step(step + 1, x):
                break
    return x


def _run_segments(model: Automaton, x: Tensor, clock: FireClock, segment: int) -> Tensor:
    for start in range(0, clock.steps, segment):
        steps = min(segment, clock.steps - start)
        part = replace(clock, start=clock.start + start, steps=steps)
        # The clock is set within the segment: the backward pass runs it in a thread of its own.
        x = torch.utils.checkpoint.checkpoint(run, model, x, part, use_reentrant=False)
    return x
