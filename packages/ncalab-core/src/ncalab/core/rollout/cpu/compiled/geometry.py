"""Places of the cells of a framed grid, and the cells that its frame repeats."""

from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import NamedTuple

import torch
from torch import Tensor

from ncalab.core.padding import CONTINUATIONS, FilterPadding, padded_index

# The compiled functions know three axes; those that a grid lacks come first.
AXES = 3


class Geometry(NamedTuple):
    """The grid of one sample, with a frame of cells around it.

    Attributes:
        dims: Number of axes that the grid has.
        cells: Cells on each of three axes.
        frame: Cells that the frame adds at both ends of each axis.
        frame_cells: Places, in the framed grid, that repeat a cell, int32.
        frame_sources: The cells that they repeat, int32.
        padding: All places of the frame, int32.
    """

    dims: int
    cells: tuple[int, ...]
    frame: tuple[int, ...]
    frame_cells: Tensor
    frame_sources: Tensor
    padding: Tensor

    @property
    def framed(self) -> tuple[int, ...]:
        """Cells on each axis with the frame."""
        return tuple(n + 2 * r for n, r in zip(self.cells, self.frame, strict=True))

    @property
    def framed_cells(self) -> int:
        """Number of cells with the frame."""
        return prod(self.framed)

    @property
    def width(self) -> int:
        """Cells along W, the first axis of the grid."""
        return self.cells[AXES - self.dims]

    def line_starts(self, columns: Sequence[int] | None) -> Tensor:
        """Return the number, in the fire masks, of the first cell of every line, int32.

        Args:
            columns: The place that each column (along W) has in the whole grid, if it is a part.
        """
        cells = self.cells[AXES - self.dims :]
        return _line_starts(cells, None if columns is None else tuple(columns))


# Every group of samples asks for the same tables.
@lru_cache(maxsize=64)
def _line_starts(cells: tuple[int, ...], columns: tuple[int, ...] | None) -> Tensor:
    if len(cells) == 1:  # all columns are one line
        return torch.tensor([0], dtype=torch.int32)
    of_column = prod(cells[1:])
    whole = torch.arange(cells[0]) if columns is None else torch.tensor(columns)
    starts = (whole * of_column)[:, None] + torch.arange(0, of_column, cells[-1])
    return starts.flatten().to(torch.int32)


def offset_in(framed: tuple[int, ...], place: Sequence[int]) -> int:
    """Return how far away in memory, in cells, a neighbour stands.

    Args:
        framed: Cells on each of three axes, with the frame.
        place: Its distance along each axis of the grid.
    """
    steps = [0] * (AXES - len(place)) + list(place)
    _, second, third = framed
    return (steps[0] * second + steps[1]) * third + steps[2]


@lru_cache(maxsize=64)
def geometry(cells: tuple[int, ...], radius: int, padding: FilterPadding) -> Geometry:
    """Work out the tables of a grid.

    Args:
        cells: Cells on each axis, one to three of them.
        radius: Cells that the frame adds at both ends of each axis.
        padding: What the frame holds.
    """
    framed = [n + 2 * radius for n in cells]
    places = torch.arange(prod(framed), dtype=torch.int32).view(framed)
    is_frame = torch.ones(framed, dtype=torch.bool)
    is_frame[tuple(slice(radius, radius + n) for n in cells)] = False
    repeated = places
    for axis, n in enumerate(cells):
        repeated = repeated.index_select(axis, padded_index(n, radius, padding) + radius)
    copies = slice(None) if CONTINUATIONS[padding].repeats else slice(0)
    lacking = AXES - len(cells)
    return Geometry(
        len(cells),
        (1,) * lacking + cells,
        (0,) * lacking + (radius,) * len(cells),
        places[is_frame][copies],
        repeated[is_frame][copies],
        places[is_frame],
    )
