"""The parameters and the padding as the CUDA engine's kernels read them."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core.padding import FilterPadding, padded_index
from ncalab.core.rollout.cuda.launch import LaunchPlan


@dataclass(frozen=True)
class Packed:
    """Parameters and tables as the kernels read them, padded with zeros.

    Attributes:
        taps: Filters by place, shape ``(k * k, SP)``.
        into_own: First layer on a cell's own state, shape ``(CP, HIDDEN)``.
        into_seen: First layer on its filtered views, shape ``(SP, HIDDEN)``.
        bias: Bias of every step, with what t/T adds to it, shape ``(T, HIDDEN)``.
        out: Last layer, shape ``(HIDDEN, CP)``.
    """

    taps: Tensor
    into_own: Tensor
    into_seen: Tensor
    bias: Tensor
    out: Tensor

    @classmethod
    def of(cls, plan: LaunchPlan, times: Tensor, parameters: Sequence[Tensor]) -> "Packed":
        """Rearrange the parameters; ``times`` are those of all steps, ``(T,)``."""
        filters, first, bias, last = (p.detach() for p in parameters)
        n, channels, k, _ = plan.filters
        hidden, product = plan.hidden_padded, plan.product_dtype
        into = first.flatten(1).t()
        biases = bias.to(plan.sum_dtype).expand(len(times), -1)
        if plan.spec.times is not None:
            biases = biases + times[:, None] * into[-1].to(plan.sum_dtype)
        taps = filters.permute(2, 3, 0, 1).reshape(k * k, n * channels).to(plan.sum_dtype)
        return cls(
            padded(taps, k * k, plan.seen_padded),
            padded(into[:channels].to(product), plan.channels_padded, hidden),
            padded(into[channels : (1 + n) * channels].to(product), plan.seen_padded, hidden),
            padded(biases, len(times), hidden),
            padded(last.flatten(1).t().to(product), hidden, plan.channels_padded),
        )


def padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """Append zeros to a matrix; the result is contiguous."""
    missing = (0, columns - matrix.shape[1], 0, rows - matrix.shape[0])
    return F.pad(matrix, missing).contiguous()


class Tables(NamedTuple):
    """Places of the cells of both axes on the padded grid.

    Attributes:
        columns: Which column stands at each padded place, shape ``(W + 2r,)``, int32, -1 for none.
        lines: Which line stands at each padded place, shape ``(H + 2r,)``, int32, -1 for none.
        of_columns: The places where each column stands, shape ``(W, m)``, int32, -1 to fill up.
        of_lines: The places where each line stands, shape ``(H, m)``, int32, -1 to fill up.
    """

    columns: Tensor
    lines: Tensor
    of_columns: Tensor
    of_lines: Tensor


@lru_cache(maxsize=64)
def tables(
    width: int, height: int, radius: int, padding: FilterPadding, device: torch.device
) -> Tables:
    """Return the tables of a grid; they are kept for the next rollout of its size."""
    columns, lines = places(width, radius, padding), places(height, radius, padding)
    of_both = places_of_cells(columns, width), places_of_cells(lines, height)
    return Tables(*(table.to(device) for table in (columns, lines, *of_both)))


def places(size: int, radius: int, padding: FilterPadding) -> Tensor:
    """Return which cell stands at each padded place of an axis, -1 for none, int32.

    >>> places(3, 1, "zero").tolist(), places(3, 1, "reflect").tolist()
    ([-1, 0, 1, 2, -1], [1, 0, 1, 2, 1])
    """
    return padded_index(size, radius, padding).to(torch.int32)


def places_of_cells(places: Tensor, size: int) -> Tensor:
    """Return all the padded places where each cell of an axis stands, -1 to fill up.

    Args:
        places: Which cell stands at each padded place, int32, -1 for none.
        size: Number of cells.

    Returns:
        Places, shape ``(size, m)``, int32, ascending.

    >>> places_of_cells(places(3, 1, "reflect"), 3).tolist()
    [[1, -1, -1], [0, 2, 4], [3, -1, -1]]
    """
    at = (places >= 0).nonzero().flatten()
    cells, order = places[at].long().sort(stable=True)
    counts = cells.bincount(minlength=size)
    # How many places of the same cell come before.
    rank = torch.arange(len(cells)) - (counts.cumsum(0) - counts)[cells]
    of_cells = torch.full((size, int(counts.max())), -1, dtype=torch.int32)
    of_cells[cells, rank] = at[order].to(torch.int32)
    return of_cells
