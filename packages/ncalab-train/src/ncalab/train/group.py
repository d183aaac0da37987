"""Train on a group of batches: one optimiser step, and what the pool learns from it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncalab.core import Prediction, interpret_range_parameter, pad_input
from ncalab.core.fire import draw_seed
from ncalab.train.budget import shortened
from ncalab.train.distributed import OneProcess, Part
from ncalab.train.pool import Pool
from ncalab.train.step import Step

if TYPE_CHECKING:
    from ncalab.train.trainer import BasicNCATrainer


@dataclass
class Ready:
    """A batch that is ready for its rollout.

    Attributes:
        part: This process's part of it.
        x: States, shape ``(B, C, W, H)``.
        y: Labels, batch first.
        goal: Goals, batch first; None for a model without.
        samples: Index of each sample in the whole batch.
        counted: How many of the samples count.
        total: Number of samples of the whole batch.
    """

    part: Part
    x: Tensor
    y: Tensor
    goal: Tensor | None
    samples: list[int]
    counted: int
    total: int


@dataclass
class Trained:
    """A batch after its rollout: states before, prediction, labels and mean loss terms."""

    x: Tensor
    prediction: Prediction
    y: Tensor
    losses: dict[str, Tensor]


class Group:
    """Train on groups of ``trainer.accumulate`` batches.

    Args:
        trainer: Holds model, pool and settings.
        step: Takes the optimiser steps.
        processes: Processes that share the work.
    """

    def __init__(self, trainer: "BasicNCATrainer", step: Step, processes: OneProcess) -> None:
        self.trainer, self.nca, self.step, self.processes = trainer, trainer.nca, step, processes

    def train(self, parts: list[Part], number: int) -> list[Trained] | None:
        """Take one optimiser step.

        Args:
            parts: This process's parts of the batches.
            number: Number of the step, for the record of the first that is not finite.

        Returns:
            What became of each batch; None if the step was skipped.
        """
        self.step.start()
        steps, seed, before = 0, None, 0
        results: list[tuple[Ready, Prediction, dict[str, Tensor]]] = []
        for part in parts:
            batch = self._prepare(part)
            if not results:
                # All batches of a group take the same steps, as if they were one.
                steps = self._draw_steps()
                seed = draw_seed() if self.step.weighted else None
            rollout: dict[str, Any] = {} if batch.goal is None else {"goal": batch.goal}
            if seed is not None:
                rollout |= {"seed": seed, "samples": [before + i for i in batch.samples]}
            with self.processes.drawing():
                prediction, losses = self.step.backward(
                    batch.x, batch.y, steps, counted=batch.counted, total=batch.total, **rollout
                )
            before += batch.total
            results.append((batch, prediction, losses))
        if not self.step.finish(number):
            return None
        return [self._conclude(*result) for result in results]

    def _draw_steps(self) -> int:
        """Draw the number of steps of a rollout; short ones come first if the trainer says so."""
        steps = interpret_range_parameter(self.nca.training_timesteps)
        # A cascade takes at least a step at each of its scales.
        fewest = len(getattr(self.nca, "scales", [1]))
        progress, first = self.step.budget.progress, self.trainer.first_steps
        return shortened(steps, progress, first, fewest=fewest)

    def _prepare(self, part: Part) -> Ready:
        nca, repeat, pool = self.nca, self.trainer.batch_repeat, self.trainer.pool
        x, y, *goals = _unpack(part.batch, has_goal=nca.goal_size > 0)
        x = nca.prepare_input(x.to(nca.device, nca.dtype))
        total = len(x) if part.total is None else part.total
        own = range(len(x)) if part.rows is None else part.rows
        samples = [i * total + row for i in range(repeat) for row in own]
        x, y, *goals = (self._pad(x, part), *(tensor.to(nca.device) for tensor in (y, *goals)))
        if repeat > 1:
            x, y, *goals = (torch.cat([tensor] * repeat) for tensor in (x, y, *goals))
        if pool is not None:
            drawn = self._draw(pool, x, y, goals, part)
            x, y, *goals = (
                rows if part.rows is None else rows[samples or slice(len(x))] for rows in drawn
            )
        goal = goals[0] if goals else None
        # A process without rows fills in with the first sample, so that its step is like others'.
        return Ready(part, x, y, goal, samples or [*range(len(x))], len(samples), total * repeat)

    def _draw(
        self, pool: Pool, x: Tensor, y: Tensor, goals: list[Tensor], part: Part
    ) -> list[Tensor]:
        """Draw states, labels and goals; what the pool lacks is that of the whole batch."""
        nca, collect = self.nca, self.processes.collect
        x, y, *goals = (collect(tensor, part) for tensor in (x, y, *goals))
        belongs = dict(zip(("label", "goal"), (y, *goals), strict=False))
        states, fields = pool.draw(
            x,
            belongs,
            image_channels=nca.num_image_channels,
            fixed_channels=nca.num_fixed_channels,
        )
        return [states, *(fields[name] for name in belongs)]

    def _pad(self, x: Tensor, part: Part) -> Tensor:
        nca = self.nca
        if part.total is None or part.rows is None or not nca.pad_noise:
            return pad_input(x, nca, noise=nca.pad_noise)
        # Noise of the whole batch, as one process would draw it; each takes that of its rows.
        whole = pad_input(x.new_zeros(part.total, *x.shape[1:]), nca, noise=True)
        first = min(part.rows.start, part.total - len(x))
        return torch.cat([x, whole[first : first + len(x), x.shape[1] :]], dim=1)

    def _conclude(self, batch: Ready, prediction: Prediction, losses: dict[str, Tensor]) -> Trained:
        """Put the states into the pool, and make the losses those of the whole batch."""
        part, pool = batch.part, self.trainer.pool
        if pool is not None:
            of_each = self.nca.sample_losses(prediction, batch.y)
            states = self.processes.collect(prediction.output_image, part)
            pool.update(states, losses=self.processes.collect(of_each, part))
        if part.rows is not None and part.total:
            share = len(part.rows) / part.total
            means = self.processes.sum(torch.stack([v.float() for v in losses.values()]) * share)
            losses = dict(zip(losses, means, strict=True))
        return Trained(batch.x, prediction, batch.y, losses)


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
