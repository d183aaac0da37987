"""Types of the arguments of a rollout."""

from collections.abc import Callable, Sequence
from typing import Literal, Protocol, TypedDict

from torch import Tensor

Engine = Literal["auto", "reference", "fused"]
"""Engine of a rollout; see :func:`ncalab.core.rollout.rollout`."""

OnStep = Callable[[int, Tensor], bool | None]
"""Called after every step with (steps taken so far, state); true ends the rollout."""

Checkpoint = Literal["auto"] | int | None
"""States that the backward pass keeps; see :func:`ncalab.core.rollout.rollout`."""


Steps = int | tuple[int, int] | list[int]
"""A number of steps; a range (min, max), without max, to draw it from; for a model of several
scales, also a list with the number at each scale."""


def total_steps(steps: int | list[int]) -> int:
    """Return the number of steps in all.

    >>> total_steps(9), total_steps([4, 3, 2])
    (9, 9)
    """
    return sum(steps) if isinstance(steps, list) else steps


Tile = int | Literal["auto"] | None
"""Number of columns of a grid to run at a time, "auto" for as many as fit; None for all."""


class RolloutOptions(TypedDict):
    """Arguments of :func:`ncalab.core.rollout.rollout` besides automaton, states and steps."""

    start: int
    seed: int
    samples: Sequence[int]
    engine: Engine
    on_step: OnStep | None
    checkpoint: Checkpoint
    goal: Tensor | None


class RunsSteps(Protocol):
    """Runner of the steps of a model that is more than one automaton on one grid."""

    def run(self, x: Tensor, steps: int | list[int], options: RolloutOptions) -> Tensor:
        """Run steps from ``x``; return the states after the last one, shape ``(B, C, W, H)``."""
