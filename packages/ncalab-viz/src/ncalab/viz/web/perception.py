"""Describe to the page what cells perceive: filters, and what is made of their values."""

from collections.abc import Sequence
from math import comb
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.perception import (
    IsotropicView,
    LaplaceView,
    SteerableView,
    View,
    ViewsNCAPerception,
)


class PerceivedBlocks(NamedTuple):
    """Perception of a cell, in blocks of one value for each of its C channels.

    The first block is its own state; then come determinants of gradients, values of filters, and
    values of filters that are needed on the way only, which the rule does not read.

    Attributes:
        filters: n filters of one size, shape ``(n, C, k, k)``; of dilated ones, most is zero.
        first_filter: Index of the block of the first filter.
        inputs: Number of blocks that the rule reads.
        places: Where each value of the perception vector stands among all values of the blocks.
        combinations: What is made of values of filters, in their order, as data for JSON.
    """

    filters: Tensor
    first_filter: int
    inputs: int
    places: Tensor
    combinations: list[dict[str, Any]]


def views_of(automaton: Automaton) -> list[View]:
    """Return the views of a list of views; none of the usual perception."""
    perception = automaton.perception
    return perception.listed if isinstance(perception, ViewsNCAPerception) else []


def why_not_perceivable(automaton: Automaton) -> str | None:
    """Say why the page cannot perceive what cells do; None if it can."""
    if automaton.spatial_dims != 2:
        return f"the grid has {automaton.spatial_dims} axes"
    for view in views_of(automaton):
        if not view.is_linear and type(view) not in (IsotropicView, SteerableView):
            return f"cells perceive by {type(view).__name__}"
    return None


def knows_no_direction(automaton: Automaton) -> bool:
    """Return whether cells perceive the same after the grid was turned by a right angle."""
    views = views_of(automaton)
    return bool(views) and all(type(view) in (IsotropicView, LaplaceView) for view in views)


def angle_channels(automata: Sequence[Automaton]) -> list[int]:
    """Return the channels that hold angles by which gradients are turned."""
    views = [view for automaton in automata for view in views_of(automaton)]
    return sorted({view.angle_channel for view in views if isinstance(view, SteerableView)})


def perceived_blocks(automaton: Automaton) -> PerceivedBlocks:
    """Lay out what the cells of an automaton perceive, which :func:`why_not_perceivable` allows."""
    channels = automaton.num_channels
    if not isinstance(automaton.perception, ViewsNCAPerception):
        filters = automaton.perception.filters
        inputs = 1 + len(filters)
        return PerceivedBlocks(filters, 1, inputs, torch.arange(inputs * channels), [])
    return _blocks_of_views(views_of(automaton), channels)


def _blocks_of_views(views: Sequence[View], channels: int) -> PerceivedBlocks:
    size = 1 + 2 * max((view.radius for view in views), default=0)
    first = 1 + sum(map(_determinant_blocks, views))
    inputs = first + sum(map(_kept_filters, views))
    places = [torch.arange(channels)]
    combinations: list[dict[str, Any]] = []
    kept: list[Tensor] = []
    scratch: list[Tensor] = []
    into = 1
    for view in views:
        filters = list(_spread(view, size))
        along = first + len(kept)
        blocks = {"along": along, "across": along + 1}
        if type(view) is IsotropicView:
            blocks |= {"across": inputs + len(scratch), "into": into}
            into += _determinant_blocks(view)
            scratch.append(filters.pop(1))
        kept += filters
        places += _places_of(view, along, blocks.get("into", 0))
        if (how := _combination_of(view)) is not None:
            combinations.append({**how, **blocks})
    # The engines have at least one filter.
    filters = kept + scratch or [torch.zeros(channels, size, size)]
    return PerceivedBlocks(torch.stack(filters), first, inputs, torch.cat(places), combinations)


def places_seen(filters: Tensor) -> Tensor:
    """Return the places (row, column) where a filter is not zero, shape ``(P, 2)``, P at least 1.

    Args:
        filters: Shape ``(n, C, k, k)``.

    >>> places_seen(torch.tensor([[[[1.0, 0, 0], [0, 0, 0], [0, 0, 2]]]])).tolist()
    [[0, 0], [2, 2]]
    """
    seen = (filters != 0).flatten(0, 1).any(0)
    if not seen.any():
        seen[0, 0] = True
    return seen.nonzero()


def _places_of(view: View, along: int, into: int) -> list[Tensor]:
    """Return where the values stand that a cell perceives through a view, in their order."""
    counts = [_kept_filters(view) * view.channels]
    if type(view) is IsotropicView:
        counts.append(comb(view.determinants, 2))
    starts = (along * view.channels, into * view.channels)
    return [torch.arange(start, start + n) for start, n in zip(starts, counts, strict=False)]


def _combination_of(view: View) -> dict[str, Any] | None:
    if type(view) is IsotropicView:
        return {"kind": "isotropic", "determinants": view.determinants}
    if type(view) is SteerableView:
        return {"kind": "steerable", "angle": view.angle_channel}
    return None


def _determinant_blocks(view: View) -> int:
    if type(view) is not IsotropicView:
        return 0
    return -(-comb(view.determinants, 2) // view.channels)


def _kept_filters(view: View) -> int:
    """Return the number of blocks that the rule reads of a view's filters."""
    return len(view.filters) - (type(view) is IsotropicView)


def _spread(view: View, size: int) -> Tensor:
    """Return a view's filters, dilated, in the middle of larger ones."""
    filters = view.filters.detach().cpu()
    spread = filters.new_zeros(*filters.shape[:2], size, size)
    start = size // 2 - view.radius
    places = slice(start, size - start, view.dilation)
    spread[:, :, places, places] = filters
    return spread
