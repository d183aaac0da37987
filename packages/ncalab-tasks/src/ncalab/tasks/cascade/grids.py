"""Grids of several scales: how large they are, and how cells get from one to another."""

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


def coarse_size(size: Sequence[int], scale: int) -> Size:
    """Return the size of a grid whose cells are at most ``scale`` pixels wide and high.

    >>> coarse_size((31, 3), 4)
    (8, 1)
    """
    width, height = (-(-length // scale) for length in size)
    return width, height


def resize(x: Tensor, size: Size) -> Tensor:
    """Bring an image, or cells, to another size without aliasing.

    Args:
        x: Shape ``(B, C, W, H)``, floating point.
        size: Width and height to bring it to.

    Returns:
        Shape ``(B, C, *size)``: the mean over the area of each new cell if any axis gets shorter,
        bilinear interpolation otherwise; ``x`` itself if it has that size.

    >>> resize(torch.tensor([[[[0.0, 1.0, 0.0, 1.0]]]]), (1, 2)).tolist()
    [[[[0.5, 0.5]]]]
    """
    old = (x.shape[2], x.shape[3])
    if old == size or x.shape[1] == 0:
        return x if old == size else x.new_zeros(*x.shape[:2], *size)
    if size[0] < old[0] or size[1] < old[1]:
        return F.interpolate(x, size=size, mode="area")
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _blocks(length: int, count: int) -> list[list[int]]:
    """Cut an axis into blocks; return the indices of each, those near its middle first.

    Blocks differ by one in length; the shorter ones repeat their middle.
    """
    bounds = [-(-i * length // count) for i in range(count + 1)]
    longest = max(end - start for start, end in pairwise(bounds))
    blocks = []
    for start, end in pairwise(bounds):
        middle = (start + end) // 2
        block = sorted(range(start, end), key=lambda cell: abs(cell - middle))
        blocks.append(block + [middle] * (longest - len(block)))
    return blocks


def sample_cells(x: Tensor, size: Size) -> Tensor:
    """Pick one cell of each block of a finer grid.

    Whole cells are picked rather than averaged, so that noise stays as strong as it is and a
    single living cell as alive as it is.

    Args:
        x: Cells, shape ``(B, C, W, H)``.
        size: Number of blocks along W and H, at most as many as cells.

    Returns:
        Cells, shape ``(B, C, *size)``: of each block the one nearest to its middle that is not
        empty (all channels zero).

    >>> seed = torch.zeros(1, 1, 8, 8)
    >>> seed[0, 0, 4, 5] = 1.0
    >>> sample_cells(seed, (2, 2))[0, 0].tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    width, height = x.shape[2:]
    if (width, height) == size:
        return x
    along_w = torch.tensor(_blocks(width, size[0]), device=x.device)[:, None, :, None]
    along_h = torch.tensor(_blocks(height, size[1]), device=x.device)[None, :, None, :]
    # Indices of the cells of each block, (w * h, cells per block): from its middle outwards.
    cells = (along_w * height + along_h).flatten(2).flatten(0, 1)
    is_empty = (x.detach() == 0).all(dim=1).flatten(1)  # (B, W * H)
    # The first of equals wins, so a block that is empty gives its middle.
    chosen = (~is_empty[:, cells]).to(torch.uint8).argmax(dim=2, keepdim=True)
    index = cells.expand(len(x), -1, -1).gather(2, chosen)[:, None, :, 0]  # (B, 1, w * h)
    picked = x.flatten(2).gather(2, index.expand(-1, x.shape[1], -1))
    return picked.view(*x.shape[:2], *size)


def share_steps(total: int, weights: Sequence[int]) -> list[int]:
    """Share steps out in proportion to ``weights``, at least one to each.

    Args:
        total: Number of steps to share out.
        weights: Number of steps of each scale when nothing else is asked for.

    Returns:
        Number of steps of each scale; their sum is ``total``.

    Raises:
        ValueError: If there are fewer steps than scales.

    >>> share_steps(60, [20, 10, 10]), share_steps(3, [20, 10, 10])
    ([30, 15, 15], [1, 1, 1])
    """
    if total < len(weights):
        raise ValueError(
            f"steps must be at least {len(weights)}, one for each scale of the cascade, got {total}"
        )
    every = sum(weights)
    shares: list[int] = []
    done = given = 0
    for place, weight in enumerate(weights):
        done += weight
        last = (2 * total * done + every) // (2 * every)  # rounded half up
        last = min(max(last, given + 1), total - (len(weights) - 1 - place))
        shares.append(last - given)
        given = last
    return shares
