"""Seeds of many trainings, and a training that leaves the caller's generators alone."""

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ncalab.core import fix_random_seed
from ncalab.core.checks import check_int
from ncalab.train.random_state import find_generators


def derived_seed(seed: int, index: int) -> int:
    """Return the seed of one of many trainings: the same for the same two numbers, anywhere.

    Args:
        seed: Seed of all of them, at least 0.
        index: Which of them, at least 0.

    Returns:
        Seed in ``[0, 2**32)``, unrelated to that of another index.

    >>> derived_seed(1337, 0), derived_seed(1337, 1)
    (2427099340, 2381473671)
    """
    words = (check_int("seed", seed, minimum=0), check_int("index", index, minimum=0))
    return int(np.random.SeedSequence(words).generate_state(1)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed the generators of Python, numpy and torch for a while, then put them back."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002 - what users seed
    # Without a list, it would start CUDA, and warn where there is more than one device.
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices):
        fix_random_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(legacy)  # noqa: NPY002 - what users seed


@contextmanager
def rewound(loaders: Iterable[Any]) -> Iterator[None]:
    """Put the generators that data loaders own back to where they were, afterwards.

    So each of many trainings sees the batches in the order that it would see as the only one.
    """
    states = [(each, each.get_state()) for each in find_generators(*loaders)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)
