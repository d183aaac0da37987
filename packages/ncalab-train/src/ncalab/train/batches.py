"""From a loader's batch to states that are ready for a rollout, and back into the pool."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction, pad_input
from ncalab.train.callbacks import BatchResult
from ncalab.train.distributed import BatchShard, SingleProcess
from ncalab.train.pool import Pool


@dataclass
class PreparedBatch:
    """A batch that is ready for its rollout.

    Attributes:
        shard: The rows of it that this process trains on.
        x: States, shape ``(B, C, W, H)``.
        y: Labels, batch first.
        goal: Goals, batch first; None for a model without.
        samples: Index of each sample in the whole batch.
        counted: Number of samples that count: B, or 0 for a process that only fills in.
        total: Number of samples of the batch in all processes.
    """

    shard: BatchShard
    x: Tensor
    y: Tensor
    goal: Tensor | None
    samples: list[int]
    counted: int
    total: int


def whole_batch(x: Tensor, y: Tensor) -> PreparedBatch:
    """Return states and labels as a batch that one process trains on alone."""
    return PreparedBatch(BatchShard((x, y)), x, y, None, [*range(len(x))], len(x), len(x))


class BatchPreparation:
    """Prepare batches, and return their states to the pool.

    Args:
        nca: Model to train.
        repeat: How often each batch is repeated within itself.
        pool: Pool that rollouts start from and return to, if there is one.
        processes: Processes that share the work.
    """

    def __init__(
        self, nca: AbstractNCAModel, repeat: int, pool: Pool | None, processes: SingleProcess
    ) -> None:
        self.nca, self.repeat, self.pool, self.processes = nca, repeat, pool, processes

    def prepare(self, shard: BatchShard) -> PreparedBatch:
        """Move a batch to the model's device, pad and repeat it, and draw from the pool."""
        nca, repeat, pool = self.nca, self.repeat, self.pool
        x, y, *goals = _unpack(shard.batch, has_goal=nca.goal_size > 0)
        x = nca.prepare_input(x.to(nca.device, nca.dtype))
        total = len(x) if shard.total is None else shard.total
        own = range(len(x)) if shard.rows is None else shard.rows
        samples = [i * total + row for i in range(repeat) for row in own]
        x, y, *goals = (self._pad(x, shard), *(tensor.to(nca.device) for tensor in (y, *goals)))
        if repeat > 1:
            x, y, *goals = (torch.cat([tensor] * repeat) for tensor in (x, y, *goals))
        if pool is not None:
            drawn = self._draw(pool, x, y, goals, shard)
            x, y, *goals = (
                rows if shard.rows is None else rows[samples or slice(len(x))] for rows in drawn
            )
        goal = goals[0] if goals else None
        # A process without rows fills in with the first sample, so that its step is like others'.
        samples, counted = samples or [*range(len(x))], len(samples)
        return PreparedBatch(shard, x, y, goal, samples, counted, total * repeat)

    def _draw(
        self, pool: Pool, x: Tensor, y: Tensor, goals: list[Tensor], shard: BatchShard
    ) -> list[Tensor]:
        """Draw states, labels and goals; what the pool lacks is that of the whole batch."""
        nca, collect = self.nca, self.processes.collect
        x, y, *goals = (collect(tensor, shard) for tensor in (x, y, *goals))
        belongs = dict(zip(("label", "goal"), (y, *goals), strict=False))
        states, fields = pool.draw(
            x,
            belongs,
            image_channels=nca.num_image_channels,
            fixed_channels=nca.num_fixed_channels,
        )
        return [states, *(fields[name] for name in belongs)]

    def _pad(self, x: Tensor, shard: BatchShard) -> Tensor:
        nca = self.nca
        if shard.total is None or shard.rows is None or not nca.pad_noise:
            return pad_input(x, nca, noise=nca.pad_noise)
        # Noise of the whole batch, as one process would draw it; each takes that of its rows.
        whole = pad_input(x.new_zeros(shard.total, *x.shape[1:]), nca, noise=True)
        first = min(shard.rows.start, shard.total - len(x))
        return torch.cat([x, whole[first : first + len(x), x.shape[1] :]], dim=1)

    def conclude(
        self,
        batch: PreparedBatch,
        iteration: int,
        prediction: Prediction,
        losses: dict[str, Tensor],
    ) -> BatchResult:
        """Return the states to the pool, and make the losses those of the whole batch.

        Args:
            batch: The batch.
            iteration: Number of batches before it.
            prediction: Prediction of its rollout, without a graph.
            losses: Its loss terms, without a graph.
        """
        shard, pool = batch.shard, self.pool
        if pool is not None:
            of_each = self.nca.sample_losses(prediction, batch.y)
            states = self.processes.collect(prediction.output_image, shard)
            pool.update(states, losses=self.processes.collect(of_each, shard))
        if shard.rows is not None and shard.total:
            share = len(shard.rows) / shard.total
            means = self.processes.sum(torch.stack([v.float() for v in losses.values()]) * share)
            losses = dict(zip(losses, means, strict=True))
        return BatchResult(iteration, batch.x, prediction, batch.y, losses)


def _unpack(batch: Any, *, has_goal: bool) -> list[Tensor]:
    """Return images and labels of a batch, and goals if the model has them."""
    names = ("images", "labels", "goals")[: 3 if has_goal else 2]
    if not isinstance(batch, tuple | list) or len(batch) < len(names):
        wanted = f"triples ({', '.join(names)})" if has_goal else "pairs (images, labels)"
        raise ValueError(f"batches must be {wanted}, got {type(batch).__name__}")
    for name, value in zip(names, batch, strict=False):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} of a batch must be a tensor, got {type(value).__name__}")
    return list(batch[: len(names)])
