"""The fire masks of some steps at a time: for small grids, hashing step by step costs most."""

from torch import Tensor

from ncalab.core.fire import FireClock, cells_fire
from ncalab.core.rollout.cpu.operations.layout import Box

# Cells times steps that are hashed at once.
HASHED = 1 << 16
MOST_STEPS = 8


class FireMasks:
    """Fire masks of one box in the steps of one phase.

    Args:
        clock: Fire masks of the rollout.
        steps: Steps of the phase, which the rollout may end before.
        box: The box.
        height: Grid height H.
    """

    def __init__(self, clock: FireClock, steps: range, box: Box, height: int) -> None:
        self.steps, self.box = steps, box
        cells = clock.cells(range(box.w0, box.w1), range(box.h0, box.h1), height)
        first = steps.start - clock.start
        keys = clock.keys[first : first + len(steps)]
        self._masks = cells_fire(keys.flatten(0, 1), cells, clock.fire_rate).view(len(keys), -1)

    def mask(self, step: int) -> Tensor:
        """Return which cells fire, shape ``(B, w, h)``, bool."""
        return self._masks[step - self.steps.start].view(-1, *self.box.size)

    def cells(self, step: int) -> Tensor:
        """Return the indices in the box of the cells that fire, int64, sorted."""
        return self._masks[step - self.steps.start].nonzero().flatten()


def phase_length(cells: int) -> int:
    """Return how many steps to hash at once for that many cells of a batch."""
    return max(1, min(MOST_STEPS, HASHED // max(cells, 1)))
