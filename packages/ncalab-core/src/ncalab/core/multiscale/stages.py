"""Rollout from scale to scale."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.multiscale.grids import Size, coarse_size, resize, sample_cells
from ncalab.core.options import RolloutOptions, Tile
from ncalab.core.rollout import rollout, tiled_rollout


class Stage(NamedTuple):
    """The steps at one scale.

    Attributes:
        automaton: Automaton that takes them.
        scale: Size of a cell in pixels.
        steps: Number of steps.
    """

    automaton: Automaton
    scale: int
    steps: int


def run_stages(
    x: Tensor, stages: Sequence[Stage], fixed: int, options: RolloutOptions, tile: Tile = None
) -> Tensor:
    """Run scale after scale, each from where the last one ended.

    Args:
        x: States at full size, shape ``(B, C, W, H)``; not changed.
        stages: What to run, in this order.
        fixed: Number of channels, the first ones, that steps leave as they are: at every scale
            they are those of ``x``.
        options: Options of every rollout. ``on_step`` sees states at full size; true ends it all.
        tile: How many columns of a grid to run at a time, or "auto"; None for all, the only
            choice with gradients or ``on_step``.

    Returns:
        States at full size, shape ``(B, C, W, H)``.
    """
    size = tuple(x.shape[2:])
    on_step = options["on_step"]
    state, taken, ended = x, options["start"], False

    def watch(step: int, state: Tensor) -> bool:
        nonlocal ended
        ended = on_step is not None and bool(on_step(step, rescale(state, x, size, fixed)))
        return ended

    for place, (automaton, scale, steps) in enumerate(stages):
        bring = first_cells if place == 0 else rescale
        state = bring(state, x, coarse_size(size, scale), fixed)
        # One seed and one count of steps for all: no step fires the cells of another one.
        here: RolloutOptions = {**options, "start": taken, "on_step": on_step and watch}
        taken += steps
        if tile is None:
            state = rollout(automaton, state, steps, **here)
        else:
            state = _run_tiled(automaton, state, steps, here, tile, is_own=state is not x)
        if ended:
            break
    return rescale(state, x, size, fixed)


def _run_tiled(
    automaton: Automaton,
    state: Tensor,
    steps: int,
    options: RolloutOptions,
    tile: int | Literal["auto"],
    *,
    is_own: bool,
) -> Tensor:
    """Run the steps at one scale band by band, in place if the states are our own."""
    return tiled_rollout(
        automaton,
        state,
        steps,
        start=options["start"],
        seed=options["seed"],
        samples=options["samples"],
        engine=options["engine"],
        tile=None if tile == "auto" else tile,
        out=state if is_own else None,
        goal=options["goal"],
    )


def first_cells(state: Tensor, x: Tensor, size: Size, fixed: int) -> Tensor:
    """Bring the states that a rollout starts from to the grid of its first scale.

    Args:
        state: States to start from, shape ``(B, C, W, H)``.
        x: States at full size, shape ``(B, C, W, H)``.
        size: Width and height of the grid.
        fixed: Number of channels that are resized images of ``x``; of the others, single cells
            are picked.

    Returns:
        States, shape ``(B, C, *size)``.
    """
    cells = sample_cells(state[:, fixed:], size)
    return torch.cat([resize(x[:, :fixed], size), cells], dim=1)


def rescale(state: Tensor, x: Tensor, size: Size, fixed: int) -> Tensor:
    """Bring states to another grid.

    Args:
        state: States, shape ``(B, C, w, h)``.
        x: States at full size, shape ``(B, C, W, H)``.
        size: Width and height of the grid.
        fixed: Number of channels that are resized images of ``x``; the others are resized states.

    Returns:
        States, shape ``(B, C, *size)``; ``state`` itself if it has that size.
    """
    if tuple(state.shape[2:]) == size:
        return state
    return torch.cat([resize(x[:, :fixed], size), resize(state[:, fixed:], size)], dim=1)
