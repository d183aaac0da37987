"""What a rollout may be asked for, besides its states and steps."""

from collections.abc import Callable, Sequence
from typing import Literal, TypedDict

from torch import Tensor

Engine = Literal["auto", "reference", "fused"]
"""Which engine runs a rollout; see :func:`ncalab.core.rollout.rollout`."""

OnStep = Callable[[int, Tensor], bool | None]
"""Called after every step with (steps taken so far, state); true ends the rollout."""

Checkpoint = Literal["auto"] | int | None
"""What the backward pass keeps of the states; see :func:`ncalab.core.rollout.rollout`."""


class StageOptions(TypedDict):
    """What the rollouts of a chain have in common; see :func:`ncalab.core.rollout.rollout`."""

    start: int
    seed: int
    samples: Sequence[int]
    engine: Engine
    on_step: OnStep | None
    checkpoint: Checkpoint
