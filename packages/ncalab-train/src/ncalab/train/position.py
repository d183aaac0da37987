"""The place in an epoch that a training has reached."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from ncalab.train.distributed import BatchShard, SingleProcess
from ncalab.train.random_state import (
    capture_random_state,
    random_state_to_data,
    restore_random_state,
)


class Position:
    """The place in an epoch from which a training is resumed.

    Args:
        generators: Generators that the training draws from, beside the global ones.

    Attributes:
        batches: Number of batches done in the epoch.
        iterations: Number of batches done in the whole training.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = generators
        self.batches = self.iterations = 0
        self.start_epoch()

    def start_epoch(self) -> None:
        """Be at the start of an epoch."""
        self.batches = 0
        self._start = self._now = capture_random_state(self.generators)

    def advance(self, batches: int) -> None:
        """Count batches."""
        self.batches += batches
        self.iterations += batches

    def capture(self) -> None:
        """Keep the random state of the place."""
        self._now = capture_random_state(self.generators)

    def shards(
        self, loader: DataLoader[Any], processes: SingleProcess, number: int
    ) -> Iterator[BatchShard]:
        """Iterate over the batches of an epoch, from the place where it was left.

        To get to that place, the epoch is begun as it was begun, in the same random state, and
        its first batches are loaded again. Then the random state of the place itself is restored.

        Args:
            loader: Training data.
            processes: Processes that share the work.
            number: The epoch, counted from 1.
        """
        samplers: tuple[Any, ...] = (loader.sampler, loader.batch_sampler)
        for sampler in samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(number - 1)
        if not self.batches:
            return processes.shards(loader)
        restore_random_state(self._start, self.generators)
        shards = processes.shards(loader)
        for _ in range(self.batches):
            next(shards)
        restore_random_state(self._now, self.generators)
        return shards

    def state_dict(self) -> dict[str, Any]:
        """Return the place as data for a checkpoint."""
        return {
            "batches": self.batches,
            "iterations": self.iterations,
            "epoch_start": random_state_to_data(self._start),
            "random": random_state_to_data(self._now),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go to a place, and restore its random state."""
        self.batches, self.iterations = state["batches"], state["iterations"]
        self._start, self._now = state["epoch_start"], state["random"]
        restore_random_state(self._now, self.generators)
