"""Join the pieces of a picture that are too far apart for life to get from one to the next."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Opacity above which a cell lives for certain, of 255; what is fainter comes and goes.
_FIRM = 64
# Other cells between two pieces that life crosses: each cell gives life to its neighbours.
_GAP = 1
# Cells of a piece that nobody misses.
_SPECK = 3
# Not to be seen on white, and alive.
_THREAD = np.array((255, 255, 255, 89), dtype=np.uint8)


def join_pieces(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Join pieces of a picture by threads, one cell wide, white, of an opacity of 0.35.

    Cells are dead where no neighbour has an opacity above 0.1. Pieces with more than an empty cell
    between them therefore hardly grow from one seed, nor come back from one another. Starting from
    the piece nearest to the middle, each is joined to the nearest that has been joined before, but
    for specks of up to three cells.

    Args:
        pixels: RGBA image, shape ``(W, H, 4)``, uint8; not changed.

    Returns:
        Image of the same shape and dtype, and the number of threads in it.

    >>> row = np.zeros((1, 14, 4), np.uint8)
    >>> row[:, [*range(5), *range(9, 14)]] = 255
    >>> joined, threads = join_pieces(row)
    >>> joined[0, :, 3].tolist(), threads
    ([255, 255, 255, 255, 255, 89, 89, 89, 89, 255, 255, 255, 255, 255], 1)
    """
    firm = torch.from_numpy(pixels[..., 3] > _FIRM)
    cells = firm.nonzero()
    joined, threads = pixels.copy(), 0
    if not len(cells):
        return joined, threads
    middle = torch.tensor(firm.shape) // 2
    reached = _piece_of(_nearest(cells, middle), firm)
    missing = firm & ~reached
    while missing.any():
        to = _first_met(reached, missing)
        piece = _piece_of(to, firm)
        missing &= ~piece
        if piece.sum() <= _SPECK:
            continue
        _draw_thread(joined, _nearest(reached.nonzero(), to), to)
        reached |= piece
        threads += 1
    return joined, threads


def _nearest(cells: Tensor, place: Tensor) -> Tensor:
    """Return that of some cells ``(N, 2)`` that is nearest to a place ``(2,)``."""
    return cells[(cells - place).square().sum(1).argmin()]


def _spread(cells: Tensor, distance: int) -> Tensor:
    """Return all cells up to a distance from some, a mask like theirs ``(W, H)``."""
    size = 2 * distance + 1
    return F.max_pool2d(cells[None].float(), size, stride=1, padding=distance)[0].bool()


def _piece_of(cell: Tensor, firm: Tensor) -> Tensor:
    """Return the mask of the piece that a cell belongs to, across gaps that life crosses."""
    piece = torch.zeros_like(firm)
    piece[tuple(cell)] = True
    count = 0
    while count != (count := int(piece.sum())):
        piece = _spread(piece, _GAP + 1) & firm
    return piece


def _first_met(reached: Tensor, missing: Tensor) -> Tensor:
    """Return the missing cell ``(2,)`` that is met first when all that is reached is spread."""
    spread = reached
    while not (met := spread & missing).any():
        spread = _spread(spread, 1)
    return met.nonzero()[0]


def _draw_thread(pixels: np.ndarray, start: Tensor, stop: Tensor) -> None:
    """Draw a thread between two cells, both left out."""
    count = int((stop - start).abs().max())
    for number in range(1, count):
        row, column = (start + (stop - start) * (number / count)).round().long().tolist()
        pixels[row, column] = _THREAD
