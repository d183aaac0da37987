"""One training over several processes, through Hugging Face Accelerate.

Every process holds the whole model, optimiser and pool, and computes its rows of each batch. The
loader's batch is the batch of all processes together, and all draws of the training (order, steps,
seeds) are the same everywhere; so the same script gives the same training, up to rounding, on any
number of processes.
"""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ncalab.train.metrics import single_metrics
from ncalab.train.random_state import (
    LocalRandomness,
    capture_random_state,
    restore_random_state,
)

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class BatchShard:
    """The rows of a batch that one process trains on.

    Attributes:
        batch: What the loader yields for it.
        rows: Its rows of the whole batch; None for all of them.
        total: Number of samples of the whole batch; None if ``batch`` is all of it.
    """

    batch: Any
    rows: range | None = None
    total: int | None = None


class SingleProcess:
    """A training that runs in this process only.

    Args:
        bf16: Whether to compute in bfloat16, whatever the trainer says.
        device: Where to train; where the model is if None.
    """

    def __init__(self, *, bf16: bool = False, device: torch.device | None = None) -> None:
        self.bf16, self.device = bf16, device
        self.count, self.is_main = 1, True

    def start(self, nca: nn.Module, generators: Sequence[torch.Generator]) -> None:
        """Make all processes begin alike."""

    def start_epoch(self) -> None:
        """Derive the process's own random stream of an epoch."""

    def drawing(self) -> AbstractContextManager[None]:
        """Draw what concerns this process's samples only."""
        return nullcontext()

    def shards(self, loader: DataLoader[Any]) -> Iterator[BatchShard]:
        """Iterate over the rows of each batch that this process trains on."""
        return (BatchShard(batch) for batch in loader)

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up the tensors of all processes."""
        return tensor

    def mean(self, value: float) -> float:
        """Return the mean of a number over all processes."""
        return value

    def collect(self, tensor: Tensor, shard: BatchShard) -> Tensor:  # noqa: ARG002 - of many, it matters
        """Put the rows of all processes together."""
        return tensor

    def validate(self, nca: Any, loader: DataLoader[Any], seeds: Iterator[int]) -> dict[str, float]:
        """Measure the model; every sample counts once."""
        metrics: dict[str, float] = nca.validate(loader, keep_predictions=False, seeds=seeds)[0]
        return metrics

    def wait(self) -> None:
        """Wait for the others."""


class ManyProcesses(SingleProcess):
    """A training that this process shares with others.

    Args:
        accelerator: Handle on the processes.
    """

    def __init__(self, accelerator: "Accelerator") -> None:
        super().__init__(bf16=is_bf16(accelerator), device=accelerator.device)
        self.accelerator = accelerator
        self.count = accelerator.num_processes
        self.rank = accelerator.process_index
        self.is_main = accelerator.is_main_process
        self.local = LocalRandomness(self.rank)

    def start(self, nca: nn.Module, generators: Sequence[torch.Generator]) -> None:
        """Give all processes the weights and the random states of the first."""
        from accelerate.utils import broadcast, broadcast_object_list

        for tensor in [*nca.parameters(), *nca.buffers()]:
            if tensor.numel():
                tensor.data.copy_(broadcast(tensor.data.clone(), from_process=0))
        states = broadcast_object_list([capture_random_state(generators)], from_process=0)
        restore_random_state(states[0], generators)

    def start_epoch(self) -> None:
        """Derive the process's own random stream from the shared one."""
        self.local.restart()

    def drawing(self) -> AbstractContextManager[None]:
        """Draw from the process's own stream."""
        return self.local.drawing()

    def shards(self, loader: DataLoader[Any]) -> Iterator[BatchShard]:
        """Iterate over this process's rows of every batch.

        A process without a row in a small last batch gets the batch's first sample and no rows:
        it must take part in the step, with weight zero.
        """
        batches = self._draw_batches(loader)
        rows = [self._rows(len(batch)) for batch in batches]
        mine = [
            [batch[i] for i in own] or batch[:1] for batch, own in zip(batches, rows, strict=True)
        ]
        with self.drawing():
            iterator = iter(_with_batches(loader, mine))
        for own, batch in zip(rows, batches, strict=True):
            with self.drawing():
                loaded = next(iterator)
            yield BatchShard(loaded, own, len(batch))

    def _draw_batches(self, loader: DataLoader[Any]) -> list[list[int]]:
        """Draw the indices of all batches as one process would."""
        if loader.batch_sampler is None or isinstance(
            loader.dataset, torch.utils.data.IterableDataset
        ):
            raise ValueError(
                "dataloaders must have a data set with indices and batches for a training over "
                f"{self.count} processes, got {type(loader.dataset).__name__}"
            )
        # A DataLoader draws the seed of its workers before its sampler draws the order.
        torch.empty((), dtype=torch.int64).random_(generator=loader.generator)
        return [list(batch) for batch in loader.batch_sampler]

    def _rows(self, total: int) -> range:
        """Return this process's share of ``total`` rows; shares differ by one at most."""
        return range(self.rank * total // self.count, (self.rank + 1) * total // self.count)

    def sum(self, tensor: Tensor) -> Tensor:
        """Add up the tensors of all processes."""
        summed: Tensor = self.accelerator.reduce(tensor, reduction="sum")
        return summed

    def mean(self, value: float) -> float:
        """Return the mean of a number over all processes."""
        return float(self.sum(torch.tensor(value / self.count, device=self.device)))

    def collect(self, tensor: Tensor, shard: BatchShard) -> Tensor:
        """Put the rows of all processes together, in every process."""
        if shard.rows is None or shard.total is None:
            return tensor
        # Repetitions of a batch lie behind one another.
        repeats = tensor.shape[0] // max(len(shard.rows), 1)
        whole = tensor.new_zeros(repeats, shard.total, *tensor.shape[1:])
        if len(shard.rows):
            own = slice(shard.rows.start, shard.rows.stop)
            whole[:, own] = tensor.detach().unflatten(0, (repeats, len(shard.rows)))
        if not whole.is_floating_point():
            # Labels: of small integers and of truth values, some backends know no sum.
            return self.sum(whole.long()).to(tensor.dtype).flatten(0, 1)
        return self.sum(whole).flatten(0, 1)

    def validate(self, nca: Any, loader: DataLoader[Any], seeds: Iterator[int]) -> dict[str, float]:
        """Measure the model; the metrics add up what the processes saw, each sample once."""
        batches = self._draw_batches(loader)
        if len(batches) < self.count:
            return self._validate_alone(nca, loader, batches, seeds)
        mine = batches[self.rank :: self.count]
        own_seeds = [seed for seed, _ in zip(seeds, batches, strict=False)][self.rank :: self.count]
        with self.drawing():
            metrics: dict[str, float] = nca.validate(
                _with_batches(loader, mine), keep_predictions=False, seeds=own_seeds
            )[0]
        return metrics

    def _validate_alone(
        self, nca: Any, loader: DataLoader[Any], batches: list[list[int]], seeds: Iterator[int]
    ) -> dict[str, float]:
        """Measure the model on all batches in every process: too few of them to share."""
        metrics = single_metrics(nca).values()
        before = [metric.distributed_available_fn for metric in metrics]
        for metric in metrics:
            metric.distributed_available_fn = _never
        try:
            with self.drawing():
                measured: dict[str, float] = nca.validate(
                    _with_batches(loader, batches), keep_predictions=False, seeds=seeds
                )[0]
        finally:
            for metric, function in zip(metrics, before, strict=True):
                metric.distributed_available_fn = function
        return measured

    def wait(self) -> None:
        """Wait until all processes are here."""
        self.accelerator.wait_for_everyone()


def _never() -> bool:
    return False


def _with_batches(loader: DataLoader[Any], batches: list[list[int]]) -> DataLoader[Any]:
    """Return a loader of the same data with other batches."""
    several = loader.num_workers > 0
    return DataLoader(
        loader.dataset,
        batch_sampler=batches,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        multiprocessing_context=loader.multiprocessing_context if several else None,
        prefetch_factor=loader.prefetch_factor if several else None,
    )


def find_processes(accelerator: "Accelerator | None", device: torch.device) -> SingleProcess:
    """Return the processes that this one trains with.

    Args:
        accelerator: As given by the user. None: made, if a launcher (``accelerate launch``,
            ``torchrun``) started this process together with others.
        device: Device of the model; its kind decides between CPU and accelerator.

    Raises:
        ImportError: If the process was started with others and Accelerate is not installed.
    """
    if accelerator is None and not _was_launched():
        return SingleProcess()
    if accelerator is None:
        try:
            from accelerate import Accelerator
        except ImportError as error:
            raise ImportError(
                "a training under a launcher needs Hugging Face Accelerate: "
                "install ncalab-train[distributed]"
            ) from error
        accelerator = Accelerator(cpu=device.type == "cpu")
    if accelerator.num_processes > 1:
        return ManyProcesses(accelerator)
    return SingleProcess(bf16=is_bf16(accelerator), device=accelerator.device)


def check_accelerator(accelerator: Any) -> None:
    """Raise a TypeError unless it is a handle of Accelerate, or None."""
    # Whoever has one has imported the package.
    package = sys.modules.get("accelerate")
    if accelerator is None or (package and isinstance(accelerator, package.Accelerator)):
        return
    kind = type(accelerator).__name__
    raise TypeError(f"accelerator must be an accelerate.Accelerator or None, got {kind}")


def is_bf16(accelerator: "Accelerator") -> bool:
    """Return whether to compute in bfloat16.

    Raises:
        ValueError: If the precision is one that a training would need to scale gradients for.
    """
    if accelerator.mixed_precision not in ("no", "bf16"):
        raise ValueError(
            "accelerator's mixed_precision must be 'no' or 'bf16', "
            f"got {accelerator.mixed_precision!r}"
        )
    return bool(accelerator.mixed_precision == "bf16")


def _was_launched() -> bool:
    """Return whether a launcher started this process with others, or with a precision to use."""
    launched = {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys()
    several = launched and int(os.environ["WORLD_SIZE"]) > 1
    return several or os.environ.get("ACCELERATE_MIXED_PRECISION", "no") != "no"
