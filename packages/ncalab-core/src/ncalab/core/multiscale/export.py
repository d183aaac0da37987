"""Several scales as an exported model runs them: sizes of grids and numbers of steps are open."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.multiscale.grids import Size, coarse_size, linear_mode, sample_blocks
from ncalab.core.runner import ExportPlan

Mode = Literal["area", "linear", "bilinear", "trilinear"]


def multiscale_plan(
    automata: Sequence[Automaton], scales: Sequence[int], steps: Sequence[int], fixed: int
) -> ExportPlan:
    """Return how :func:`ncalab.core.multiscale.stages.run_stages` goes from scale to scale.

    Where that one looks at the sizes of grids, this one looks at the scales that they come from.

    Args:
        automata: Automaton of each scale.
        scales: Size of a cell in pixels at each scale.
        steps: Number of steps of each scale when nothing else is asked for.
        fixed: Number of channels, the first ones, that steps leave as they are.
    """
    return ExportPlan(
        automata,
        enter=partial(_enter, tuple(scales), fixed),
        leave=partial(_move, scales[-1], 1, fixed),
        share=partial(share_open_steps, weights=tuple(steps)),
    )


def _enter(scales: Sequence[int], fixed: int, place: int, state: Tensor, x: Tensor) -> Tensor:
    """Bring states to the grid of a scale, from full size or from the scale before it."""
    if place > 0:
        return _move(scales[place - 1], scales[place], fixed, state, x)
    if scales[0] == 1:
        return state
    size = coarse_size(x.shape[2:], scales[0])
    cells = sample_blocks(state[:, fixed:], size, scales[0])
    return torch.cat([_resize(x[:, :fixed], size, "area"), cells], dim=1)


def _move(before: int, after: int, fixed: int, state: Tensor, x: Tensor) -> Tensor:
    """Bring states from one scale to another, as ``rescale`` does it."""
    if before == after:
        return state
    size = coarse_size(x.shape[2:], after)
    image = x[:, :fixed] if after == 1 else _resize(x[:, :fixed], size, "area")
    mode: Mode = "area" if after > before else linear_mode(state)
    return torch.cat([image, _resize(state[:, fixed:], size, mode)], dim=1)


def _resize(x: Tensor, size: Size, mode: Mode) -> Tensor:
    if x.shape[1] == 0:
        return x.new_zeros(x.shape[0], 0, *size)
    # To the size that it has, both modes are the identity.
    return F.interpolate(x, size=size, mode=mode)


def share_open_steps(total: Tensor, weights: Sequence[int]) -> list[Tensor]:
    """Share steps out as :func:`ncalab.core.multiscale.grids.share_steps`, whatever their number.

    Args:
        total: Number of steps, shape ``()``, int64. Where there are fewer than scales, one for
            each scale is taken.
        weights: Number of steps of each scale when nothing else is asked for.

    Returns:
        Number of steps of each scale, shape ``()``, int64.

    >>> [int(share) for share in share_open_steps(torch.tensor(60), [20, 10, 10])]
    [30, 15, 15]
    """
    every = torch.full_like(total, sum(weights))
    shares = []
    done, given = 0, torch.zeros_like(total)
    for place, weight in enumerate(weights):
        done += weight
        last = (2 * total * done + every) // (2 * every)  # rounded half up
        last = torch.minimum(last, total - (len(weights) - 1 - place))
        last = torch.maximum(last, given + 1)
        shares.append(last - given)
        given = last
    return shares
