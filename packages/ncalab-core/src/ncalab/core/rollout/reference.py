"""The reference engine: one step after the other, as the model defines them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor

from ncalab.core.fire import FireClock

if TYPE_CHECKING:
    from ncalab.core.model import AbstractNCAModel

OnStep = Callable[[int, Tensor], bool | None]


def run(
    model: "AbstractNCAModel", x: Tensor, clock: FireClock, on_step: OnStep | None = None
) -> Tensor:
    """Run the steps of ``clock`` through ``model._forward_step``, whatever it does.

    Args:
        model: Model whose rule all cells follow.
        x: States, shape ``(B, C, W, H)``; not changed.
        clock: Which steps to run, and which cells fire in them.
        on_step: Called with (number of steps taken so far, state); true ends the rollout.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.
    """
    with clock.running():
        for step in range(clock.start, clock.start + clock.steps):
            x = model._post_forward_step(model._forward_step(x, step))
            if on_step is not None and on_step(step + 1, x):
                break
    return x
