"""The place in an epoch that a training has reached, and the loss terms of the epoch so far."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
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


class LossSums:
    """Sums of an epoch's loss terms, on their device: every read makes the host wait."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget all terms."""
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}

    def add(self, losses: Mapping[str, Tensor]) -> None:
        """Add the loss terms of a batch."""
        for name, value in losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            # A loss may have terms that come and go; the mean is that of the batches that have it.
            self.counts[name] = self.counts.get(name, 0) + 1

    def stacked(self) -> Tensor:
        """Return all sums, shape ``(number of terms,)``, float32."""
        return torch.stack([value.float() for value in self.sums.values()])

    def means(self, sums: Sequence[float]) -> dict[str, float]:
        """Return the mean of each term.

        Args:
            sums: Numbers of :meth:`stacked`, and possibly more.
        """
        totals = dict(zip(self.sums, sums, strict=False))
        return {name: total / self.counts[name] for name, total in totals.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return sums and counts as data for a checkpoint."""
        return {"sums": self.sums, "counts": dict(self.counts)}

    def load_state_dict(self, state: Mapping[str, Any], device: torch.device) -> None:
        """Restore what :meth:`state_dict` returned."""
        self.sums = {name: value.to(device) for name, value in state["sums"].items()}
        self.counts = dict(state["counts"])
