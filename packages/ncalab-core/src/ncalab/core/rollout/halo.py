"""The frame of cells around a channels-last grid, and its adjoint."""

from typing import NamedTuple

from torch import Tensor

from ncalab.core.perception import FilterPadding, padded_index


class Box(NamedTuple):
    """Cells ``[w0, w1) x [h0, h1)`` of a grid."""

    w0: int
    w1: int
    h0: int
    h1: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height."""
        return self.w1 - self.w0, self.h1 - self.h0

    def grown(self, cells: int, width: int, height: int) -> "Box":
        """Return the box with ``cells`` more on every side, as far as the grid goes."""
        return Box(
            max(self.w0 - cells, 0),
            min(self.w1 + cells, width),
            max(self.h0 - cells, 0),
            min(self.h1 + cells, height),
        )

    def framed(self, grid: Tensor, radius: int) -> Tensor:
        """Return the view of a framed grid that holds the box and ``radius`` cells around it."""
        return grid[:, self.w0 : self.w1 + 2 * radius, self.h0 : self.h1 + 2 * radius]

    def inner(self, grid: Tensor, radius: int) -> Tensor:
        """Return the view of a framed grid that holds the box."""
        w0, w1, h0, h1 = (place + radius for place in self)
        return grid[:, w0:w1, h0:h1]


class Halo:
    """Fill the frame of a grid from its cells; send the frame's gradient back to them.

    Args:
        width: Grid width W.
        height: Grid height H.
        radius: Width of the frame.
        padding: What the frame holds.
    """

    def __init__(self, width: int, height: int, radius: int, padding: FilterPadding) -> None:
        self.radius = radius
        self.is_zero = padding == "zero"
        # Per axis of (B, W, H, C): pairs of (place in the frame, cell it repeats).
        self.copies = [self._pairs(size, radius, padding) for size in (width, height)]

    def _pairs(self, size: int, radius: int, padding: FilterPadding) -> list[tuple[int, int]]:
        if self.is_zero:
            return []
        source = (padded_index(size, radius, padding) + radius).tolist()
        frame = (*range(radius), *range(size + radius, size + 2 * radius))
        return [(place, source[place]) for place in frame]

    def fill(self, grid: Tensor) -> None:
        """Copy cells into the frame of a grid, shape ``(B, W + 2r, H + 2r, C)``, in place."""
        for axis, pairs in enumerate(self.copies, start=1):
            for place, source in pairs:
                grid.select(axis, place).copy_(grid.select(axis, source))

    def fold(self, gradient: Tensor) -> None:
        """Add the frame's gradient to the cells it repeats and clear the frame, in place."""
        for axis, pairs in reversed(list(enumerate(self.copies, start=1))):
            for place, source in pairs:
                gradient.select(axis, source).add_(gradient.select(axis, place))
        self.clear(gradient)

    def clear(self, grid: Tensor) -> None:
        """Set the frame to zero, in place."""
        if self.radius:
            r = self.radius
            for frame in (grid[:, :r], grid[:, -r:], grid[:, :, :r], grid[:, :, -r:]):
                frame.zero_()
