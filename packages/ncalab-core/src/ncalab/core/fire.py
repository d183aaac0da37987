"""Fire masks: a pure function of (seed, step, sample, cell).

No generator is advanced while steps run. That is what makes a rollout repeatable: the same seed
fires the same cells on every device, in every engine, when a step is recomputed for the backward
pass, and whether a sample runs alone or inside a larger batch.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import pairwise
from numbers import Integral

import numpy as np
import torch
from torch import Tensor

_SEED_BITS = 63
# 24 bits decide whether a cell fires, so that the threshold of every fire rate in [0, 1] fits an
# int32 exactly and no rate needs a special case.
_THRESHOLD_BITS = 24

_U64 = np.uint64


def draw_seed(generator: torch.Generator | None = None) -> int:
    """Draw the 63-bit seed of one rollout from a CPU generator.

    Args:
        generator: CPU generator; torch's default one if None.

    Returns:
        Seed in ``[0, 2**63 - 1)``.

    >>> _ = torch.manual_seed(0)
    >>> draw_seed() == draw_seed(torch.Generator().manual_seed(0))
    True
    """
    return int(torch.randint(0, 2**_SEED_BITS - 1, (), dtype=torch.int64, generator=generator))


def check_seed(seed: int) -> int:
    """Return ``seed`` if it is a 63-bit non-negative integer.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is not in ``[0, 2**63)``.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be an integer, got {seed!r:.80}")
    if not 0 <= seed < 2**_SEED_BITS:
        raise ValueError(f"seed must be in [0, 2**{_SEED_BITS}), got {seed}")
    return int(seed)


def _splitmix64(x: np.ndarray) -> np.ndarray:
    """Mix 64-bit words (Steele et al. 2014, doi:10.1145/2714064.2660195, figure 17)."""
    x = x + _U64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> _U64(30))) * _U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> _U64(27))) * _U64(0x94D049BB133111EB)
    return np.asarray(x ^ (x >> _U64(31)))


def fire_keys(seed: int, steps: Sequence[int], samples: Sequence[int]) -> Tensor:
    """Hash (seed, step, sample) to the two 32-bit words that key a sample's fire mask.

    Args:
        seed: Seed of the rollout, in ``[0, 2**63)``.
        steps: T step numbers.
        samples: B sample indices.

    Returns:
        Keys, shape ``(T, B, 2)``, int32, on the CPU.

    >>> fire_keys(1, range(3), range(2)).shape
    torch.Size([3, 2, 2])
    """
    words = _splitmix64(np.array([[check_seed(seed)]], dtype=np.uint64))
    words = _splitmix64(words ^ np.asarray(steps, dtype=np.uint64)[:, None])
    words = _splitmix64(words ^ np.asarray(samples, dtype=np.uint64)[None, :])
    halves = np.stack([words, words >> _U64(32)], axis=-1).astype(np.uint32)
    return torch.from_numpy(halves.view(np.int32))


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift int32 words right, filling with zeros (torch's ``>>`` repeats the sign bit)."""
    return (x >> bits).bitwise_and_((1 << (32 - bits)) - 1)


def hash_cells(cells: Tensor, keys: Tensor) -> Tensor:
    """Hash every cell index under every key, in 32-bit integers that wrap around.

    Source: the multiply-xorshift permutation "lowbias32" of C. Wellons, Prospecting for Hash
    Functions, 2018, with a second key word mixed in between its rounds, so that the masks of two
    samples are not one mask with its cells reordered.

    Args:
        cells: Cell indices, shape ``(N,)``, int32.
        keys: Keys of :func:`fire_keys` for one step, shape ``(B, 2)``, int32.

    Returns:
        Hashes, shape ``(B, N)``, int32, uniform over all 32 bits.
    """
    x = cells[None, :] + keys[:, :1]
    x ^= _shift_right(x, 16)
    x *= 0x7FEB352D
    x ^= keys[:, 1:]
    x ^= _shift_right(x, 15)
    x *= 0x846CA68B - 2**32
    x ^= _shift_right(x, 16)
    return x


def fire_threshold(fire_rate: float) -> int:
    """Return the 24-bit threshold below which a hash means "fires"."""
    return round(fire_rate * (1 << _THRESHOLD_BITS))


def cells_fire(keys: Tensor, cells: Tensor, fire_rate: float) -> Tensor:
    """Decide which of the given cells fire; shape ``(B, N)``, bool (see :func:`hash_cells`)."""
    bits = _shift_right(hash_cells(cells, keys), 32 - _THRESHOLD_BITS)
    return bits < fire_threshold(fire_rate)


@dataclass(frozen=True)
class FireClock:
    """The fire masks of one rollout, and the goal that runs along with it.

    Args:
        seed: Seed of the rollout, in ``[0, 2**63)``.
        fire_rate: Probability that a cell fires at a step, in [0, 1].
        samples: Index of each sample of the batch, B of them.
        start: First step of the rollout.
        steps: Number of steps.
        device: Where the masks are wanted.
        columns: For a part of a grid, the place along W that each of its columns has in the
            whole; ``0 ... W - 1`` if None.
        first_cell: Added to the index of every cell.
        goal: What the cells of each sample perceive of its goal, shape ``(B, G)``; None for none.
    """

    seed: int
    fire_rate: float
    samples: Sequence[int]
    start: int
    steps: int
    device: torch.device
    columns: Sequence[int] | None = None
    first_cell: int = 0
    goal: Tensor | None = None

    @cached_property
    def keys(self) -> Tensor:
        """Keys of all steps, shape ``(T, B, 2)``, int32, moved to the device once."""
        every = range(self.start, self.start + self.steps)
        keys = fire_keys(self.seed, every, self.samples)
        # The index is added to the first word of the key: adding to either is the same.
        keys[..., 0] += self.first_cell
        return keys.to(self.device)

    def without_columns(self, height: int) -> "FireClock | None":
        """Return the clock with ``first_cell`` for ``columns``; None unless they are a range."""
        if self.columns is None:
            return self
        first = self.columns[0]
        if list(self.columns) != list(range(first, first + len(self.columns))):
            return None
        return replace(self, columns=None, first_cell=self.first_cell + first * height)

    @cached_property
    def stretches(self) -> list[int]:
        """Widths of the stretches of columns that lie side by side in the whole grid, too.

        Empty without ``columns``.

        >>> clock = FireClock(7, 0.5, range(1), 0, 1, torch.device("cpu"), columns=[8, 9, 0, 1, 2])
        >>> clock.stretches
        [2, 3]
        """
        if self.columns is None:
            return []
        columns = list(self.columns)
        follows = zip(columns[1:], columns, strict=False)
        cuts = [i for i, (column, left) in enumerate(follows, start=1) if column != left + 1]
        return [b - a for a, b in pairwise([0, *cuts, len(columns)])]

    def cells(self, along_w: range, along_h: range, height: int) -> Tensor:
        """Return the indices of a box of cells in a grid of that height, int32, flat."""
        axis = partial(torch.arange, dtype=torch.int32, device=self.device)
        columns = axis(along_w.start, along_w.stop)
        if self.columns is not None:
            places = self.columns[along_w.start : along_w.stop]
            columns = torch.tensor(places, dtype=torch.int32, device=self.device)
        lines = axis(along_h.start, along_h.stop)
        return (columns[:, None] * height + lines).flatten()

    def mask(self, step: int, width: int, *others: int) -> Tensor:
        """Return the fire mask of ``step``, shape ``(B, 1, width, *others)``, bool.

        >>> clock = FireClock(7, 0.5, range(1), 0, 1, torch.device("cpu"))
        >>> clock.mask(0, 2, 6)[0, 0].int().tolist()
        [[1, 0, 1, 1, 1, 1], [0, 0, 1, 1, 0, 1]]
        """
        column = math.prod(others)
        cells = self.cells(range(width), range(column), column)
        fires = cells_fire(self.keys[step - self.start], cells, self.fire_rate)
        return fires.view(-1, 1, width, *others)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make this the clock that :func:`current_clock` finds in this thread."""
        token = _running.set(self)
        try:
            yield
        finally:
            _running.reset(token)


# A context variable, not an attribute of the model: two threads may roll out one model at once.
_running: ContextVar[FireClock | None] = ContextVar("ncalab_fire_clock", default=None)


def current_clock() -> FireClock | None:
    """Return the clock of the rollout that runs in this thread, None outside a rollout."""
    return _running.get()
