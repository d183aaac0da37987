"""The fire masks of a seed that is known only when an exported model runs."""

import operator
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor

from ncalab.core.fire import FireClock, fire_threshold

# The hash of core.fire in 64-bit integers with a sign, which every format of exported models has.
_WORD = 2**32 - 1


def _signed(word: int) -> int:
    """Return the 64-bit integer with a sign that has the bits of ``word``."""
    return word - 2**64 if word >= 2**63 else word


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift 64-bit words right, filling with zeros (torch's ``>>`` repeats the sign bit)."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def _splitmix64(x: Tensor) -> Tensor:
    """Mix 64-bit words, as ``ncalab.core.fire`` does it with numpy; int64 wraps around."""
    x = x + _signed(0x9E3779B97F4A7C15)
    x = (x ^ _shift_right(x, 30)) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ _shift_right(x, 27)) * _signed(0x94D049BB133111EB)
    return x ^ _shift_right(x, 31)


def traced_keys(seed: Tensor, step: Tensor | int, batch: int) -> tuple[Tensor, Tensor]:
    """Return the two words that :func:`ncalab.core.fire.fire_keys` has for every sample.

    Args:
        seed: Seed in ``[0, 2**63)``, shape ``()``, int64.
        step: Number of the step; a tensor has shape ``()`` and is int64.
        batch: Number of samples B, whose indices are ``0 ... B - 1``.

    Returns:
        Low and high word, shape ``(B, 1)``, int64, in ``[0, 2**32)``.
    """
    samples = torch.arange(batch, dtype=torch.int64, device=seed.device)
    words = _splitmix64(_splitmix64(_splitmix64(seed) ^ step) ^ samples)[:, None]
    return words & _WORD, _shift_right(words, 32)


def traced_hash(cells: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return :func:`ncalab.core.fire.hash_cells` as integers in ``[0, 2**32)``.

    Args:
        cells: Cell indices, shape ``(N,)``, int64.
        low: Low words of the keys, shape ``(B, 1)``, int64.
        high: High words of the keys, shape ``(B, 1)``, int64.

    Returns:
        Hashes, shape ``(B, N)``, int64.
    """
    # No product leaves 63 bits, so nothing depends on how a runtime lets them overflow.
    x = (cells + low) & _WORD
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _WORD
    x = x ^ high
    x = ((x ^ (x >> 15)) * (0x846CA68B - 2**32)) & _WORD
    return x ^ (x >> 16)


@dataclass(frozen=True)
class TracedClock(FireClock):
    """A clock whose masks are operations on a seed and a step.

    Args:
        seed_input: Seed, shape ``()``, int64.
        batch: Number of samples.
    """

    seed_input: Tensor | None = None
    batch: int = 1

    def mask(self, step: Any, width: int, *others: int) -> Tensor:
        """Return the fire mask of ``step``, shape ``(B, 1, width, *others)``, bool.

        Where every cell fires, or none, it is the same for all: shape ``(1, 1, 1, ...)``.
        """
        threshold = fire_threshold(self.fire_rate)
        if self.seed_input is None:
            return torch.full((1,) * (3 + len(others)), threshold > 0, device=self.device)
        low, high = traced_keys(self.seed_input, step, self.batch)
        count = reduce(operator.mul, others, width)
        cells = torch.arange(count, dtype=torch.int64, device=self.device)
        # The first 24 of 32 bits decide.
        fires = traced_hash(cells, low, high) < (threshold << 8)
        return fires.view(-1, 1, width, *others)
