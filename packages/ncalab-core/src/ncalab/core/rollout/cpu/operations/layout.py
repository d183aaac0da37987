"""Memory layout of the cells of a channels-last grid, and the blocks that they are worked on in.

A grid is ``(B, W + 2r, H + 2r, C)``: all cells and a frame of r cells around them. A cell's
channels are one row of memory.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

# Cells of a block: what is computed from them stays in the cache of a core or two.
BLOCK = 8192


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

    def around(self, inner: "Box") -> "list[Box]":
        """Return the boxes, up to four, that cover this one without ``inner``."""
        w0, w1 = (min(max(w, self.w0), self.w1) for w in (inner.w0, inner.w1))
        h0, h1 = (min(max(h, self.h0), self.h1) for h in (inner.h0, inner.h1))
        sides = (
            Box(self.w0, w0, self.h0, self.h1),
            Box(w1, self.w1, self.h0, self.h1),
            Box(w0, w1, self.h0, h0),
            Box(w0, w1, h1, self.h1),
        )
        return [side for side in sides if min(side.size) > 0]

    def framed(self, grid: Tensor, radius: int) -> Tensor:
        """Return the view of a framed grid that holds the box and ``radius`` cells around it."""
        return grid[:, self.w0 : self.w1 + 2 * radius, self.h0 : self.h1 + 2 * radius]

    def inner(self, grid: Tensor, radius: int) -> Tensor:
        """Return the view of a framed grid that holds the box."""
        w0, w1, h0, h1 = (place + radius for place in self)
        return grid[:, w0:w1, h0:h1]


def bounding_box(mask: Tensor, box: Box) -> Box:
    """Return the smallest box that holds all true cells of ``mask``, which covers ``box``."""
    marked = mask.any(dim=0)
    axes = [marked.any(dim=other).nonzero().flatten().tolist() for other in (1, 0)]
    if not axes[0]:
        return Box(box.w0, box.w0, box.h0, box.h0)
    (w0, w1), (h0, h1) = ((axis[0], axis[-1] + 1) for axis in axes)
    return Box(box.w0 + w0, box.w0 + w1, box.h0 + h0, box.h0 + h1)


def occupied(x: Tensor) -> Box:
    """Return the smallest box with all cells of ``(B, C, W, H)`` that are not zero throughout."""
    width, height = x.shape[2:]
    return bounding_box((x != 0).any(dim=1), Box(0, width, 0, height))


def rows_in(shape: Sequence[int], box: Box, radius: int) -> Tensor:
    """Return the row of every cell of a box in a framed grid of that shape, int64."""
    batch, width, height = shape[:3]
    rows = torch.arange(batch * width * height).view(batch, width, height, 1)
    return box.inner(rows, radius).reshape(-1)


class Block(NamedTuple):
    """Some samples of a box, or some columns of one sample: cells that follow in memory.

    Attributes:
        samples: Which samples.
        columns: Which places along W in the box.
        first: Index of its first cell among all cells of the box.
    """

    samples: slice
    columns: slice
    first: int

    def framed(self, source: Tensor, radius: int) -> Tensor:
        """Return the view of a framed box that holds the block and ``radius`` cells around it."""
        return source[self.samples, self.columns.start : self.columns.stop + 2 * radius]


class Layout:
    """Memory layout of the cells of one box.

    Args:
        box: The box.
        shape: Shape of the framed grid.
        radius: Width of the frame.
        block: Number of cells that a block should have.
    """

    def __init__(self, box: Box, shape: Sequence[int], radius: int, block: int = BLOCK) -> None:
        self.box, self.radius, self.shape = box, radius, tuple(shape)
        batch, channels = shape[0], shape[3]
        width, height = box.size
        self.source_shape = (batch, width + 2 * radius, height + 2 * radius, channels)
        self.blocks = self._cut(batch, width, height, block)
        # Then a block reads cells that another one writes.
        self.is_split = bool(self.blocks) and self.blocks[0].columns.stop < width
        self._in_spread: dict[tuple[int, int], Tensor] = {}

    @staticmethod
    def _cut(batch: int, width: int, height: int, block: int) -> list[Block]:
        cells = width * height
        if cells == 0:
            return []
        if cells <= block:
            count = min(max(block // cells, 1), batch)
            pieces = -(-batch // count)
            count = -(-batch // pieces)
            starts = range(0, batch, count)
            every = slice(0, width)
            return [Block(slice(b, min(b + count, batch)), every, b * cells) for b in starts]
        columns = -(-width // -(-cells // block))
        return [
            Block(slice(b, b + 1), slice(w, min(w + columns, width)), b * cells + w * height)
            for b in range(batch)
            for w in range(0, width, columns)
        ]

    @cached_property
    def in_grid(self) -> Tensor:
        """Row of every cell of the box in the grid."""
        return rows_in(self.shape, self.box, self.radius)

    @cached_property
    def in_source(self) -> Tensor:
        """Row of every cell of the box in the box with its frame."""
        if self.source_shape == self.shape:
            return self.in_grid
        width, height = self.box.size
        return rows_in(self.source_shape, Box(0, width, 0, height), self.radius)

    def in_spread(self, block: Block) -> tuple[Tensor, tuple[int, ...]]:
        """Return the rows of a block's cells in a grid with a frame of 2r, and that shape."""
        samples = block.samples.stop - block.samples.start
        width = block.columns.stop - block.columns.start
        height = self.box.size[1]
        frame = 4 * self.radius
        shape = (samples, width + frame, height + frame, self.shape[3])
        if (samples, width) not in self._in_spread:
            rows = rows_in(shape, Box(0, width, 0, height), 2 * self.radius)
            self._in_spread[samples, width] = rows
        return self._in_spread[samples, width], shape

    def split(self, cells: Tensor) -> list[tuple[Block, slice]]:
        """Return the blocks that hold some of the given sorted cells, and which those are."""
        if len(self.blocks) == 1:
            return [(self.blocks[0], slice(0, len(cells)))] if len(cells) else []
        firsts = torch.tensor([block.first for block in self.blocks[1:]])
        bounds = [0, *torch.searchsorted(cells, firsts).tolist(), len(cells)]
        pieces = zip(self.blocks, bounds[:-1], bounds[1:], strict=True)
        return [(block, slice(start, stop)) for block, start, stop in pieces if start < stop]
