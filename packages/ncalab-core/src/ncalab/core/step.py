"""The two ends of a step as functions of tensors: what cells perceive, and how they change."""

from collections.abc import Callable

import torch
from torch import Tensor

from ncalab.core.padding import FilterPadding
from ncalab.core.perception.filters import filter_cells


def perceive(
    x: Tensor, filters: Tensor, padding: FilterPadding, time: float | Tensor | None = None
) -> Tensor:
    """Return what every cell perceives: its own state, filtered views and, if given, the time.

    Args:
        x: Cell states, shape ``(B, C, W, H)``, floating point.
        filters: n depthwise filters, shape ``(n, C, k, k)``.
        padding: How the grid continues beyond its border.
        time: t/T; None if cells do not perceive it.

    Returns:
        Perception vectors, shape ``(B, (1 + n) C, W, H)``, one longer with a time.

    >>> perceive(torch.ones(1, 2, 3, 3), torch.ones(1, 2, 3, 3), "zero")[0, :, 0, 0].tolist()
    [1.0, 1.0, 4.0, 4.0]
    """
    seen = [x, *filter_cells(x, filters, padding)]
    if time is not None:
        # A sum, not new_full: an exported model has the step as a tensor.
        seen.append(x.new_zeros(x.shape[0], 1, *x.shape[2:]) + time)
    return torch.cat(seen, dim=1)


def change(
    x: Tensor,
    update: Tensor,
    fires: Tensor,
    *,
    first: int,
    alive: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """Add the updates of the cells that fire, and clear those that do not live.

    Args:
        x: States, shape ``(B, C, W, H)``.
        update: What every cell would add, shape ``(B, C, W, H)``.
        fires: Which cells fire, shape ``(B, 1, W, H)``, bool.
        first: First channel that may change; those before it stay as they are.
        alive: From states to which cells live, ``(B, 1, W, H)``, bool: a cell must live before
            and after the update. None: all do.

    Returns:
        Next states, shape ``(B, C, W, H)``.

    >>> fires = torch.tensor([[[[True, False]]]])
    >>> change(torch.zeros(1, 2, 1, 2), torch.ones(1, 2, 1, 2), fires, first=1).tolist()
    [[[[0.0, 0.0]], [[1.0, 0.0]]]]
    """
    fixed, mutable = x[:, :first], x[:, first:]
    # torch.where, not a product: a NaN must not get past a mask as NaN * 0.
    mutable = torch.where(fires, mutable + update[:, first:], mutable)
    if alive is not None:
        lives = alive(x) & alive(torch.cat([fixed, mutable], dim=1))
        mutable = torch.where(lives, mutable, torch.zeros_like(mutable))
    return torch.cat([fixed, mutable], dim=1)
