"""How a grid goes on beyond its border."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core.tracing import is_tracing

FilterPadding = Literal["zero", "reflect", "replicate", "circular"]
FILTER_PADDINGS: tuple[FilterPadding, ...] = get_args(FilterPadding)


def padded_index(size: int, radius: int, padding: FilterPadding) -> Tensor:
    """Index of the cell that stands at each padded place of an axis."""
    place = torch.arange(-radius, size + radius)
    if padding == "circular":
        return place % size
    if padding == "replicate" or size == 1:
        return place.clamp(0, size - 1)
    period = 2 * (size - 1)
    return (size - 1) - ((place % period) - (size - 1)).abs()


def _margins(size: int, radius: int, padding: FilterPadding) -> tuple[Tensor, Tensor]:
    """Return the parts of :func:`padded_index` beyond the borders; the size may be open."""
    last = torch.full((), size, dtype=torch.int64) - 1
    before, after = torch.arange(-radius, 0), last + torch.arange(1, radius + 1)
    if padding == "circular":
        return before % (last + 1), after % (last + 1)
    if padding == "replicate":
        return before.clamp(min=0), torch.minimum(after, last)
    # A single cell is repeated: its period would be 0.
    period = (2 * last).clamp(min=1)
    return last - (before % period - last).abs(), last - (after % period - last).abs()


def _pad_any_size(x: Tensor, radius: int, padding: FilterPadding) -> Tensor:
    """Do what :func:`pad_cells` does without looking at the size of the grid."""
    for axis in range(2, x.ndim):
        before, after = _margins(x.shape[axis], radius, padding)
        edges = [x.index_select(axis, index.to(x.device)) for index in (before, after)]
        x = torch.cat([edges[0], x, edges[1]], dim=axis)
    return x


def pad_cells(x: Tensor, radius: int, padding: FilterPadding) -> Tensor:
    """Continue the grid beyond its border by ``radius`` cells.

    Grids smaller than the filter are continued as often as needed, as ``numpy.pad`` does it: a
    reflection bounces between both borders, a single cell is repeated.

    Args:
        x: Cell states, shape ``(B, C, *grid)``.
        radius: Number of cells to add on every side.
        padding: "zero", "reflect", "replicate" or "circular".

    Returns:
        Padded states, shape ``(B, C, W + 2 radius, ...)``.

    >>> pad_cells(torch.tensor([[[[1.0, 2.0, 3.0]]]]), 1, "reflect")[0, 0, 1].tolist()
    [2.0, 1.0, 2.0, 3.0, 2.0]
    """
    if padding == "zero":
        return F.pad(x, [radius] * 2 * (x.ndim - 2))
    if is_tracing():
        return _pad_any_size(x, radius, padding)
    if min(x.shape[2:]) > radius:
        return F.pad(x, [radius] * 2 * (x.ndim - 2), mode=padding)
    for axis in range(2, x.ndim):
        x = x.index_select(axis, padded_index(x.shape[axis], radius, padding).to(x.device))
    return x
