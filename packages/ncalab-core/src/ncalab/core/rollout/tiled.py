"""Rollouts of grids that are larger than what a rollout's working memory may hold.

The grid is cut into bands of columns (places along W). A band takes some steps at once, together
with as many neighbouring columns as can reach it in that many steps: what goes wrong at a cut does
not get as far as the band itself. Bands are written back one after the other; the few columns
that the next band needs as they were before are kept aside.
"""

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeVar, cast, get_args

import torch
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.checks import check_choice, check_flag, check_int, check_model, check_samples
from ncalab.core.compilation import outside_of_graphs
from ncalab.core.fire import FireClock, check_seed, draw_seed
from ncalab.core.options import Engine
from ncalab.core.padding import CONTINUATIONS
from ncalab.core.progress import progress_bar
from ncalab.core.rollout.choice import run
from ncalab.core.rollout.grid_store import Grid, StateArray, check_out, check_states, grid_of
from ncalab.core.rollout.standard import reach_of, why_reach_unknown

# Working memory of a band, in bytes, and how many copies of its states a rollout holds.
WORKING_MEMORY = 512 * 2**20
COPIES = 5
# The columns that a band takes along from both neighbours are at most that part of its own.
OVERLAP = 1 / 8

States = TypeVar("States", bound=StateArray)


class Tiling(NamedTuple):
    """Tiles of a rollout.

    Attributes:
        columns: Width of a band.
        steps: Steps that a band takes at once.
        reach: Columns on either side that one step reads.
    """

    columns: int
    steps: int
    reach: int

    @classmethod
    def choose(
        cls, model: Automaton, shape: Sequence[int], tile: int | None, reach: int | None
    ) -> "Tiling":
        """Choose, unless given, how wide bands are and how many steps they take at once."""
        _, channels, width, *others = shape
        if reach is None:
            reach = reach_of(model)
        if reach is None:
            raise ValueError(f"reach must be given for this model: {why_reach_unknown(model)}")
        check_int("reach", reach, minimum=0)
        if tile is None:
            column = channels * math.prod(others) * model.dtype.itemsize
            tile = max(int(WORKING_MEMORY / (COPIES * (1 + OVERLAP) * column)), 1)
        tile = min(max(check_int("tile", tile, minimum=1), reach), width)
        steps = int(tile * OVERLAP / (2 * reach)) if reach else sys.maxsize
        return cls(tile, max(steps, 1), reach)


@outside_of_graphs
def tiled_rollout(
    model: Automaton,
    x: States,
    steps: int,
    *,
    start: int = 0,
    seed: int | None = None,
    samples: Sequence[int] | None = None,
    engine: Engine = "auto",
    tile: int | None = None,
    reach: int | None = None,
    out: States | None = None,
    progress: bool = True,
    goal: Tensor | None = None,
) -> States:
    """Run ``steps`` steps, without gradients, in a working memory that does not grow with the grid.

    Equals :func:`ncalab.core.rollout.rollout` with the same seed, up to rounding.

    Args:
        model: Model; its device does the work, band by band.
        x: States, shape ``(B, C, W, H)``, floating point: a tensor on any device, or a
            ``numpy.memmap``, of which only one band at a time is in memory.
        steps: Number of steps, at least 1.
        start: Number of steps that were taken before.
        seed: Decides which cells fire; drawn from torch's default CPU generator if None.
        samples: Index of each sample in the fire masks, ``0 ... B - 1`` if None.
        engine: "auto", "reference" or "fused"; see :func:`ncalab.core.rollout.rollout`.
        tile: Columns (places along W) of a band, at least 1; a band is never narrower than what
            a step reads. None: as many as half a gigabyte of working memory holds.
        reach: How many columns away a cell's next state may depend on, at least 0. None: known
            for models of the standard kind, and an error for others.
        out: Where to write the result, of the shape, type and dtype of ``x``. ``x`` itself: its
            states are replaced as the rollout goes, and an error in between leaves them mixed.
            None: a new tensor; states in a file need one.
        progress: Whether to show a progress bar.
        goal: Goal of each sample, for a model with ``goal_size``: vectors ``(B, goal_size)``, or
            indices ``(B,)`` with ``num_goals``.

    Returns:
        ``out``, or the new tensor.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a value is not as described, or ``reach`` is not known.
    """
    check_model("model", model)
    check_states("x", x, model.num_channels, model.spatial_dims)
    check_int("steps", steps, minimum=1)
    check_int("start", start, minimum=0)
    check_choice("engine", engine, get_args(Engine))
    samples = check_samples(samples, x.shape[0])
    seed = draw_seed() if seed is None else check_seed(seed)
    check_flag("progress", progress)
    tiling = Tiling.choose(model, x.shape, tile, reach)
    result: StateArray | None = out
    if isinstance(x, Tensor) and out is None:
        result = torch.empty_like(x)
    if result is None:
        raise TypeError("out must be given for states in a file, got None; x replaces them")
    check_out(result, x)
    vectors = model.encode_goal(goal, x.shape[0])
    clock = FireClock(seed, model.fire_rate, samples, start, steps, model.device, goal=vectors)
    total = x.shape[0] * math.ceil(x.shape[2] / tiling.columns) * math.ceil(steps / tiling.steps)
    with torch.no_grad(), progress_bar(total=total, unit="tile", disable=not progress) as bar:
        for sample in range(x.shape[0]):
            source, target = grid_of(x, sample), grid_of(result, sample)
            for part in _passes(clock, sample, tiling.steps):
                for columns, states in _run_pass(model, source, part, tiling, x.shape[2], engine):
                    target.write(columns, states)
                    bar.update()
                source = target
    return cast(States, result)


def _passes(clock: FireClock, sample: int, length: int) -> Iterator[FireClock]:
    """Cut one sample's rollout into rollouts of at most ``length`` steps."""
    for start in range(0, clock.steps, length):
        steps = min(length, clock.steps - start)
        own = (clock.samples[sample],)
        goal = None if clock.goal is None else clock.goal[sample : sample + 1]
        yield replace(clock, samples=own, start=clock.start + start, steps=steps, goal=goal)


def _run_pass(
    model: Automaton,
    grid: Grid,
    clock: FireClock,
    tiling: Tiling,
    width: int,
    engine: Engine,
) -> Iterator[tuple[range, Tensor]]:
    """Take some steps with every band of one sample.

    Yields:
        Columns, and their states after the steps, shape ``(1, C, w, H)``, to be written before
        the next ones are asked for: to the same grid, or to another.
    """
    reach = tiling.reach * clock.steps
    wraps = CONTINUATIONS[model.filter_padding].wraps
    if tiling.columns + (2 * reach if wraps else 0) >= width:
        yield range(width), _run(model, grid.read(range(width)), clock, range(width), engine)
        return
    # Columns that are overwritten before they are read for the last time.
    head = grid.read(range(reach if wraps else 0)).clone()
    left = grid.read(range(width - reach, width) if wraps else range(0)).clone()
    for w0 in range(0, width, tiling.columns):
        band = range(w0, min(w0 + tiling.columns, width))
        own = grid.read(band)
        right = grid.read(range(band.stop, min(band.stop + reach, width)))
        right = torch.cat([right, head[:, :, : reach - right.shape[2]]], dim=2)
        states = torch.cat([left, own, right], dim=2)
        margin = left.shape[2]
        columns = [w % width for w in range(w0 - margin, band.stop + right.shape[2])]
        seen = margin + len(band)
        left = states[:, :, max(seen - reach, 0) : seen].clone()
        after = _run(model, states, clock, columns, engine)
        yield band, after[:, :, margin:seen]


def _run(
    model: Automaton,
    states: Tensor,
    clock: FireClock,
    columns: Sequence[int],
    engine: Engine,
) -> Tensor:
    """Run the steps of ``clock`` on some columns of a grid."""
    return run(model, states.to(model.device, model.dtype), replace(clock, columns=columns), engine)
