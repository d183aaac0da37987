"""Grids of several scales: how large they are, and how cells get from one to another."""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, ...]
# By number of axes.
_LINEAR: dict[int, Literal["linear", "bilinear", "trilinear"]] = {
    1: "linear",
    2: "bilinear",
    3: "trilinear",
}


def coarse_size(size: Sequence[int], scale: int) -> Size:
    """Return the size of a grid whose cells are at most ``scale`` pixels long, along each axis.

    >>> coarse_size((31, 3), 4)
    (8, 1)
    """
    # Not -(-length // scale): an exported model divides positive numbers only.
    return tuple((length + scale - 1) // scale for length in size)


def resize(x: Tensor, size: Size) -> Tensor:
    """Bring an image, or cells, to another size without aliasing.

    Args:
        x: Shape ``(B, C, *grid)``, floating point.
        size: Size along each axis to bring it to.

    Returns:
        Shape ``(B, C, *size)``: the mean over the area of each new cell if any axis gets shorter,
        linear interpolation otherwise; ``x`` itself if it has that size.

    >>> resize(torch.tensor([[[[0.0, 1.0, 0.0, 1.0]]]]), (1, 2)).tolist()
    [[[[0.5, 0.5]]]]
    """
    old = tuple(x.shape[2:])
    if old == size or x.shape[1] == 0:
        return x if old == size else x.new_zeros(*x.shape[:2], *size)
    if any(new < length for new, length in zip(size, old, strict=True)):
        return F.interpolate(x, size=size, mode="area")
    return F.interpolate(x, size=size, mode=linear_mode(x), align_corners=False)


def linear_mode(x: Tensor) -> Literal["linear", "bilinear", "trilinear"]:
    """Return what torch calls linear interpolation of ``(B, C, *grid)``."""
    return _LINEAR[x.ndim - 2]


def _blocks(length: int, count: int, longest: int) -> Tensor:
    """Cut an axis into blocks that differ by one in length at most.

    Made of operations on tensors, for an exported model, in which length and count are open.

    Returns:
        Indices of the cells of each block, those near its middle first, shape
        ``(count, longest)``; shorter blocks repeat their middle.
    """
    blocks = torch.full((), count)
    bounds = (torch.arange(count + 1) * length + blocks - 1) // blocks
    start, end = bounds[:-1, None], bounds[1:, None]
    middle = (start + end) // 2
    # Away from the middle: 0, -1, 1, -2, 2, ...
    place = torch.arange(longest)
    offset = torch.where(place % 2 == 1, -1, 1) * ((place + 1) // 2)
    return torch.where(place < end - start, middle + offset, middle)


def sample_cells(x: Tensor, size: Size) -> Tensor:
    """Pick one cell of each block of a finer grid.

    Whole cells are picked rather than averaged, so that noise stays as strong as it is and a
    single living cell as alive as it is.

    Args:
        x: Cells, shape ``(B, C, *grid)``.
        size: Number of blocks along each axis, at most as many as cells.

    Returns:
        Cells, shape ``(B, C, *size)``: of each block the one nearest to its middle that is not
        empty (all channels zero).

    >>> seed = torch.zeros(1, 1, 8, 8)
    >>> seed[0, 0, 4, 5] = 1.0
    >>> sample_cells(seed, (2, 2))[0, 0].tolist()
    [[0.0, 0.0], [0.0, 1.0]]
    """
    if tuple(x.shape[2:]) == size:
        return x
    longest = max(-(-old // new) for old, new in zip(x.shape[2:], size, strict=True))
    return sample_blocks(x, size, longest)


def sample_blocks(x: Tensor, size: Size, longest: int) -> Tensor:
    """Do what :func:`sample_cells` does where the sizes of both grids are open.

    Args:
        x: Cells, shape ``(B, C, *grid)``.
        size: Number of blocks along each axis.
        longest: Number of cells along any axis that no block exceeds.

    Returns:
        Cells, shape ``(B, C, *size)``.
    """
    # Indices of the cells of each block, (blocks, cells per block): from its middle outwards.
    cells = torch.zeros(1, 1, dtype=torch.int64, device=x.device)
    for length, count in zip(x.shape[2:], size, strict=True):
        along = _blocks(length, count, longest).to(x.device)[None, :, None, :]
        cells = (cells[:, None, :, None] * length + along).flatten(2).flatten(0, 1)
    is_empty = (x.detach() == 0).all(dim=1).flatten(1)  # (B, cells)
    # The first of equals wins, so a block that is empty gives its middle.
    chosen = (~is_empty[:, cells]).to(torch.uint8).argmax(dim=2, keepdim=True)
    index = cells.expand(x.shape[0], -1, -1).gather(2, chosen)[:, None, :, 0]  # (B, 1, blocks)
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
