"""The random states that a training depends on: captured and restored."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader


def find_generators(*owners: Any) -> list[torch.Generator]:
    """List the generators that loaders and their samplers, or a pool, draw from, each once.

    A loader without a generator of its own draws from torch's default one.

    Args:
        owners: Loaders, a pool, or None.

    >>> own = torch.Generator()
    >>> find_generators(DataLoader([1, 2], shuffle=True, generator=own), None) == [own]
    True
    """
    found: dict[int, torch.Generator] = {}
    for owner in owners:
        parts = [owner]
        if isinstance(owner, DataLoader):
            inner = getattr(owner.batch_sampler, "sampler", None)
            parts += [owner.sampler, owner.batch_sampler, inner, owner.dataset]
        for part in parts:
            generator = getattr(part, "generator", None)
            if isinstance(generator, torch.Generator):
                found.setdefault(id(generator), generator)
    return list(found.values())


def capture_random_state(generators: Sequence[torch.Generator] = ()) -> dict[str, Any]:
    """Return the states of the generators of torch, numpy and Python, and of the given ones."""
    state = {
        "torch": torch.get_rng_state(),
        "numpy": np.random.get_state(),  # noqa: NPY002 - users' transforms draw from it
        "python": random.getstate(),
        "generators": [generator.get_state() for generator in generators],
        "cuda": [],
    }
    if torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state_all()
    return state


def random_state_to_data(state: dict[str, Any]) -> dict[str, Any]:
    """Return a captured state as numbers and tensors, for a checkpoint.

    It is captured after every batch but seldom saved, so that this is a step of its own.
    """
    name, keys, *rest = state["numpy"]
    words = torch.tensor(np.asarray(keys).astype(np.int64))
    return {**state, "numpy": (name, words, *rest)}


def restore_random_state(state: dict[str, Any], generators: Sequence[torch.Generator] = ()) -> None:
    """Set what :func:`capture_random_state` or :func:`random_state_to_data` returned.

    Raises:
        ValueError: If it has the states of more or fewer generators than given.
    """
    if len(state["generators"]) != len(generators):
        raise ValueError(
            f"loaders and pool must have {len(state['generators'])} generators as they had when "
            f"the checkpoint was written, got {len(generators)}"
        )
    torch.set_rng_state(state["torch"])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, np.asarray(keys).astype(np.uint32), *rest))  # noqa: NPY002 - see above
    random.setstate(state["python"])
    for generator, own in zip(generators, state["generators"], strict=True):
        generator.set_state(own)
    if state["cuda"] and torch.cuda.device_count() == len(state["cuda"]):
        torch.cuda.set_rng_state_all(state["cuda"])


@contextmanager
def unchanged_random_state(generators: Sequence[torch.Generator] = ()) -> Iterator[None]:
    """Put all random states back afterwards, whatever was drawn in between.

    >>> torch.manual_seed(0).initial_seed()
    0
    >>> with unchanged_random_state():
    ...     inside = torch.rand(1)
    >>> torch.equal(torch.rand(1), inside)
    True
    """
    before = capture_random_state(generators)
    try:
        yield
    finally:
        restore_random_state(before, generators)


class LocalRandomness:
    """A random stream of one process of many, beside the stream that all of them share.

    What a process does for its own samples only (loading, augmentation, dropout) must not advance
    the shared stream, or the processes would not draw the same steps and seeds.

    Args:
        rank: Index of the process.
    """

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.state: dict[str, Any] | None = None

    def restart(self) -> None:
        """Derive the stream anew from the shared one, which is not advanced."""
        digest = hashlib.blake2b(torch.get_rng_state().numpy().tobytes(), digest_size=4)
        seed = (int.from_bytes(digest.digest(), "little") + self.rank) % 2**32
        shared = capture_random_state()
        torch.manual_seed(seed)
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - users' transforms draw from it
        self.state = capture_random_state()
        restore_random_state(shared)

    @contextmanager
    def drawing(self) -> Iterator[None]:
        """Draw from the own stream for a while."""
        if self.state is None:
            self.restart()
        shared = capture_random_state()
        restore_random_state(self.state or shared)
        try:
            yield
        finally:
            self.state = capture_random_state()
            restore_random_state(shared)
