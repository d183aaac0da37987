"""Join the pieces of a picture that are too far apart for life to get from one to the next."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

# Opacity above which a cell lives for certain, of 255; what is fainter comes and goes.
_FIRM = 64
# Other cells between two pieces that life crosses: each cell gives life to its neighbours.
_GAP = 1
# Not to be seen on white, and alive.
_THREAD = np.array((255, 255, 255, 89), dtype=np.uint8)
# Of a cell: too little to choose a longer gap, of pictures of up to thousands of cells.
_TIE = 1e-5
# As many cells are compared with all others at once.
_CHUNK = 512


def join_pieces(pixels: np.ndarray) -> tuple[np.ndarray, int]:
    """Join pieces of a picture by threads, as wide as long, white, of an opacity of 0.35.

    Cells are dead where no neighbour has an opacity above 0.1. Pieces with more than an empty cell
    between them therefore hardly grow from one seed, nor come back from one another. Starting from
    the piece nearest to the middle, each is joined to the nearest that has been joined before. A
    long thread of one cell is too little of the picture to be learned.

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
    pieces = _label_pieces(firm)[firm]
    off = (cells - torch.tensor(firm.shape) // 2).float().norm(dim=1)
    added = pieces == pieces[off.argmin()]
    missing = ~added
    distance = torch.full((len(cells),), math.inf)
    start, at = torch.zeros_like(cells), cells.float()
    while missing.any():
        for part in cells[added].split(_CHUNK):
            nearer, which = torch.cdist(at, part.float()).min(1)
            closer = nearer < distance
            distance[closer], start[closer] = nearer[closer], part[which[closer]]
        # Of gaps of one length, the one nearest to the middle, where life comes first.
        stop = int((distance + off * _TIE).where(missing, math.inf).argmin())
        _draw_thread(joined, start[stop], cells[stop])
        added = pieces == pieces[stop]
        missing &= ~added
        threads += 1
    return joined, threads


def _label_pieces(firm: Tensor) -> Tensor:
    """Return a number for each cell ``(W, H)``, the same for those that life gets to; 0 for none.

    Args:
        firm: Where the picture is visible, shape ``(W, H)``, bool.
    """
    labels = torch.arange(1, firm.numel() + 1, dtype=torch.float64).reshape(firm.shape) * firm
    size = 2 * _GAP + 3
    while True:
        spread = F.max_pool2d(labels[None], size, stride=1, padding=size // 2)[0] * firm
        if torch.equal(spread, labels):
            return labels
        labels = spread


def _draw_thread(pixels: np.ndarray, start: Tensor, stop: Tensor) -> None:
    """Draw a thread between two cells, where the picture is not visible."""
    line = (stop - start).numpy()
    distance, length = np.hypot(*line), abs(line).max() - 1
    low = (torch.minimum(start, stop) - length).clamp(min=0)
    high = torch.maximum(start, stop) + length + 1
    part = pixels[low[0] : high[0], low[1] : high[1]]
    rows, columns = np.indices(part.shape[:2]) + (low - start).numpy()[:, None, None]
    along, aside = rows * line[0] + columns * line[1], rows * line[1] - columns * line[0]
    between = (along > 0) & (along < line @ line)
    near = abs(aside) <= max(1, length - 1) / 2 * distance
    part[between & near & (part[..., 3] <= _FIRM)] = _THREAD
