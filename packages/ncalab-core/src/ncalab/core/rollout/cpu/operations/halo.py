"""The frame of cells around a channels-last grid, and its adjoint."""

import torch
from torch import Tensor

from ncalab.core.padding import CONTINUATIONS, FilterPadding, padded_index


class Halo:
    """Fill the frame of a grid from its cells; send the frame's gradient back to them.

    Args:
        batch: Number of samples B.
        width: Grid width W.
        height: Grid height H.
        radius: Width r of the frame.
        padding: What the frame holds.
    """

    def __init__(
        self, batch: int, width: int, height: int, radius: int, padding: FilterPadding
    ) -> None:
        self.copies = CONTINUATIONS[padding].repeats and radius > 0
        framed = (width + 2 * radius, height + 2 * radius)
        rows = torch.arange(framed[0] * framed[1]).view(framed)
        is_frame = torch.ones(framed, dtype=torch.bool)
        is_frame[radius : radius + width, radius : radius + height] = False
        repeated = rows
        if self.copies:
            columns, lines = (padded_index(n, radius, padding) + radius for n in (width, height))
            repeated = rows[columns][:, lines]
        firsts = torch.arange(batch)[:, None] * rows.numel()
        # Row of every place of the frame, and of the cell that it repeats.
        self.frame = (firsts + rows[is_frame]).flatten()
        self.cells = (firsts + repeated[is_frame]).flatten()

    def fill(self, grid: Tensor) -> None:
        """Copy cells into the frame of a grid, shape ``(B, W + 2r, H + 2r, C)``, in place."""
        if self.copies:
            rows = grid.view(-1, grid.shape[3])
            rows.index_copy_(0, self.frame, rows.index_select(0, self.cells))

    def fold(self, gradient: Tensor) -> None:
        """Add the frame's gradient to the cells it repeats and clear the frame, in place."""
        rows = gradient.view(-1, gradient.shape[3])
        if self.copies:
            rows.index_add_(0, self.cells, rows.index_select(0, self.frame))
        rows.index_fill_(0, self.frame, 0)
