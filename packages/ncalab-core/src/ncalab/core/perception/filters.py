"""Depthwise filters on grids of one, two or three axes."""

from collections.abc import Sequence
from functools import reduce
from itertools import product
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core.padding import FilterPadding, pad_cells
from ncalab.core.tracing import is_tracing

_CONVOLUTIONS = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
# L1 norm of the Laplace filter, that of Sobel filters being 1.
_LAPLACE_NORM = 1.5
MOST_BYTES = 2**63
"""Size of a tensor that torch has no number for."""


def check_shape_of_filters(
    owner: str, shape: Sequence[int], spatial_dims: int, channels: int | None = None
) -> None:
    """Raise a ValueError unless filters are of an odd size, the same along each axis.

    Args:
        owner: Name of what has them, for the message.
        shape: Their shape: their number, that of channels if they differ between these, the size
            along each axis.
        spatial_dims: Number of axes of the grid.
        channels: Number of channels; None for filters that are the same for all.
    """
    front = ["n"] if channels is None else ["n", str(channels)]
    kernel = tuple(shape[len(front) :])
    fits = len(kernel) == spatial_dims and (channels is None or shape[1] == channels)
    if not fits or len(set(kernel)) != 1 or kernel[0] % 2 == 0:
        wanted = ", ".join([*front, *["k"] * spatial_dims])
        raise ValueError(
            f"filters of {owner} must have shape ({wanted}), k odd, got {tuple(shape)}"
        )


def sobel_filters(spatial_dims: int) -> Tensor:
    """Return the Sobel filter along each axis, the last axis first.

    Along axis i it is the outer product of (-1, 0, 1) on axis i and (1, 2, 1) on the others,
    divided by the sum of its absolute values.

    Args:
        spatial_dims: Number of axes of the grid.

    Returns:
        Filters, shape ``(axes, 3, ...)``, float32.

    >>> sobel_filters(1).tolist()
    [[-0.5, 0.0, 0.5]]
    """
    step, smooth = torch.tensor([-1.0, 0.0, 1.0]), torch.tensor([1.0, 2.0, 1.0])
    filters = []
    for axis in reversed(range(spatial_dims)):
        along = [step if other == axis else smooth for other in range(spatial_dims)]
        weights = reduce(lambda a, b: a[..., None] * b, along)
        filters.append(weights / weights.abs().sum())
    return torch.stack(filters)


def laplace_filter(spatial_dims: int) -> Tensor:
    """Return the Laplace filter: a neighbour at distance r weighs 1/r², the centre minus the sum.

    Args:
        spatial_dims: Number of axes of the grid.

    Returns:
        Filter, shape ``(3, ...)``, float32.

    >>> laplace_filter(1).tolist()
    [0.375, -0.75, 0.375]
    """
    squares = torch.tensor(
        [sum(i * i for i in at) for at in product((-1, 0, 1), repeat=spatial_dims)]
    )
    weights = torch.where(squares > 0, 1.0 / squares, 0.0)
    weights *= _LAPLACE_NORM / (2 * weights.sum())
    weights[len(weights) // 2] = -_LAPLACE_NORM / 2
    return weights.view([3] * spatial_dims)


def fixed_filters(*, use_laplace: bool, spatial_dims: int = 2) -> Tensor:
    """Return the fixed filters: Sobel along each axis, the last first, and Laplace if asked for.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, section "Perception"; the Laplace filter is that of Mordvintsev
    et al., Texture generation with NCA, 2021, arXiv:2105.07299, scaled to the size of the Sobel
    filters.

    Args:
        use_laplace: Whether to append the Laplace filter.
        spatial_dims: Number of axes of the grid.

    Returns:
        Filters, shape ``(axes or axes + 1, 3, ...)``, float32.

    >>> fixed_filters(use_laplace=False)[0].abs().sum().item()
    1.0
    """
    filters = sobel_filters(spatial_dims)
    if not use_laplace:
        return filters
    return torch.cat([filters, laplace_filter(spatial_dims)[None]])


def check_border(kernel_size: int, dilation: int, x: Tensor) -> None:
    """Raise a ValueError unless a grid fits in memory with the border that filters need.

    Only a border wider than the grid is looked at, which may be a slip.

    Args:
        kernel_size: Size of the filters along every axis.
        dilation: Distance between the cells that neighbouring weights act on.
        x: Cell states, shape ``(B, C, *grid)``.
    """
    reach = dilation * (kernel_size // 2)
    if is_tracing() or reach <= max(x.shape[2:]):
        return
    shape = (*x.shape[:2], *(size + 2 * reach for size in x.shape[2:]))
    size = prod(shape) * x.itemsize
    try:
        if size < MOST_BYTES:
            # Reserved, not written to.
            x.new_empty(shape)
            return
    except RuntimeError:  # what torch raises where there is not enough memory
        pass
    grid = " x ".join(map(str, x.shape[2:]))
    raise ValueError(
        f"dilation and kernel_size must leave a grid of {grid} cells with a border that fits in "
        f"memory, got {dilation} and {kernel_size}: {reach} cells on every side, {size:,} bytes"
    )


def filter_cells(
    x: Tensor, filters: Tensor, padding: FilterPadding, dilation: int = 1
) -> list[Tensor]:
    """Filter the states of all cells.

    Args:
        x: Cell states, shape ``(B, C, *grid)``, floating point.
        filters: n depthwise filters of odd size, shape ``(n, C, k, ...)``.
        padding: How the grid continues beyond its border.
        dilation: Distance between the cells that neighbouring weights act on.

    Returns:
        The n views, each of shape ``(B, C, *grid)``.
    """
    check_border(filters.shape[-1], dilation, x)
    padded = pad_cells(x, dilation * (filters.shape[-1] // 2), padding)
    convolve = _CONVOLUTIONS[x.ndim - 2]
    kernels = filters.to(x.dtype)[:, :, None]  # (n, C, 1, k, ...)
    return [convolve(padded, k, groups=x.shape[1], dilation=dilation) for k in kernels]
