"""Continuation of a grid beyond its border: one table for engines, tiling, exporters and pages."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core.tracing import is_tracing

FilterPadding = Literal["zero", "reflect", "replicate", "circular"]
FILTER_PADDINGS: tuple[FilterPadding, ...] = get_args(FilterPadding)


def _zero(place: Tensor, last: Tensor) -> Tensor:
    return torch.where((place >= 0) & (place <= last), place, -1)


def _reflect(place: Tensor, last: Tensor) -> Tensor:
    # A single cell is repeated: its period would be 0.
    period = (2 * last).clamp(min=1)
    return last - (place % period - last).abs()


def _replicate(place: Tensor, last: Tensor) -> Tensor:
    return torch.minimum(place.clamp(min=0), last)


def _circular(place: Tensor, last: Tensor) -> Tensor:
    return place % (last + 1)


class Continuation(NamedTuple):
    """Continuation of a grid beyond its border.

    Attributes:
        cell_at: Returns the cells that stand at places of an axis, -1 for none, of the places and
            the place of the last cell.
        mode: Name that :func:`torch.nn.functional.pad` has for it.
        repeats: Whether cells are repeated beyond the border; otherwise there are zeros.
        wraps: Whether the cells at both ends of an axis are neighbours.
    """

    cell_at: Callable[[Tensor, Tensor], Tensor]
    mode: str
    repeats: bool = True
    wraps: bool = False


CONTINUATIONS: dict[FilterPadding, Continuation] = {
    "zero": Continuation(_zero, "constant", repeats=False),
    "reflect": Continuation(_reflect, "reflect"),
    "replicate": Continuation(_replicate, "replicate"),
    "circular": Continuation(_circular, "circular", wraps=True),
}


def padded_index(size: int, radius: int, padding: FilterPadding) -> Tensor:
    """Index of the cell that stands at each padded place of an axis, -1 for none.

    >>> padded_index(3, 1, "zero").tolist(), padded_index(3, 1, "reflect").tolist()
    ([-1, 0, 1, 2, -1], [1, 0, 1, 2, 1])
    """
    place = torch.arange(-radius, size + radius)
    return CONTINUATIONS[padding].cell_at(place, torch.full((), size - 1))


def margins(size: int, radius: int, padding: FilterPadding) -> tuple[Tensor, Tensor]:
    """Return the parts of :func:`padded_index` beyond the borders; the size may be open.

    >>> [margin.tolist() for margin in margins(5, 2, "circular")]
    [[3, 4], [0, 1]]
    """
    last = torch.full((), size, dtype=torch.int64) - 1
    cell_at = CONTINUATIONS[padding].cell_at
    before, after = torch.arange(-radius, 0), last + torch.arange(1, radius + 1)
    return cell_at(before, last), cell_at(after, last)


def _pad_any_size(x: Tensor, radius: int, padding: FilterPadding) -> Tensor:
    """Do what :func:`pad_cells` does without looking at the size of the grid."""
    for axis in range(2, x.ndim):
        indices = margins(x.shape[axis], radius, padding)
        edges = [x.index_select(axis, index.to(x.device)) for index in indices]
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
    continuation = CONTINUATIONS[padding]
    if is_tracing() and continuation.repeats:
        return _pad_any_size(x, radius, padding)
    if not continuation.repeats or min(x.shape[2:]) > radius:
        return F.pad(x, [radius] * 2 * (x.ndim - 2), mode=continuation.mode)
    for axis in range(2, x.ndim):
        x = x.index_select(axis, padded_index(x.shape[axis], radius, padding).to(x.device))
    return x
