"""One optimiser step: gradients of a group of batches, made fit, and applied once."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ncalab.core import Prediction
from ncalab.train.budget import Budget, decay_factor
from ncalab.train.distributed import OneProcess
from ncalab.train.operation_threads import OperationThreads
from ncalab.train.optimizers import normalize_gradients, scaled_lr, warmup_factor
from ncalab.train.watch import FiniteWatch

if TYPE_CHECKING:
    from ncalab.train.trainer import BasicNCATrainer

_MAX_GRADIENT_NORM = 1.0


class Step:
    """Take optimiser steps on one model.

    Args:
        trainer: Holds the settings.
        optimizers: Optimisers to step, each parameter in one of them at most.
        processes: Processes that share the work.
        budget: Reports how much of the training is done.
    """

    def __init__(
        self,
        trainer: "BasicNCATrainer",
        optimizers: Sequence[Optimizer],
        processes: OneProcess | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.trainer, self.nca = trainer, trainer.nca
        self.budget = budget or Budget(trainer.max_epochs, trainer.max_minutes)
        self.optimizers = list(optimizers)
        self.processes = processes or OneProcess()
        self.watch = FiniteWatch(self.nca)
        self.operation_threads = OperationThreads(self.nca)
        self.taken = 0
        # Whether weights may be ahead of what else a step changes.
        self.torn = False
        # Gradients of one whole batch need no weights: they are what its loss gives.
        self.weighted = trainer.accumulate > 1 or self.processes.count > 1
        self._losses: list[Tensor] = []
        self._samples = 0

    def start(self) -> None:
        """Begin a group of batches."""
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self._losses, self._samples = [], 0

    def backward(
        self, x: Tensor, y: Tensor, steps: int, *, counted: int, total: int, **rollout: Any
    ) -> tuple[Prediction, dict[str, Tensor]]:
        """Add the gradients of a batch.

        Args:
            x: States, shape ``(B, C, W, H)``, on the model's device.
            y: Labels, batch first.
            steps: Number of steps of the rollout.
            counted: Number of samples that count: B, or 0 for one that only fills in.
            total: Number of samples of the batch in all processes.
            **rollout: Further arguments of the model's forward.

        Returns:
            Prediction and loss terms, both without their graph.
        """
        if self.trainer.checkpoint is not None:
            rollout["checkpoint"] = self.trainer.checkpoint
        with self.operation_threads.deciding(), self._autocast():
            prediction = self.nca(x, steps, **rollout)
            losses = self.nca.loss(prediction, y)
            _check_losses(losses)
        # A loss is the mean over its batch; the mean over a group of batches weighs by samples.
        loss = losses["total"] * counted if self.weighted else losses["total"]
        loss.backward()
        self._losses.append(loss.detach())
        self._samples += total
        return prediction.detach(), {name: value.detach() for name, value in losses.items()}

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.trainer.precision == "float32" and not self.processes.bf16:
            return nullcontext()
        return torch.autocast(self.nca.device.type, torch.bfloat16)

    def finish(self, number: int) -> bool:
        """Step the optimisers.

        Args:
            number: Number of the step, for the record of the first that is not finite.

        Returns:
            Whether the step was taken; only with ``skip_nonfinite`` it may be not.
        """
        loss = torch.stack(self._losses).sum()
        if self.weighted:
            loss = self._average(loss)
        if self.trainer.skip_nonfinite:
            if not bool((self.watch.gradient_norms().sum() + loss).isfinite()):
                return False
        else:
            self.watch.see(loss, number)
        if self.trainer.gradient_normalization:
            normalize_gradients(self.nca.parameters())
        if self.trainer.gradient_clipping:
            nn.utils.clip_grad_norm_(self.nca.parameters(), _MAX_GRADIENT_NORM)
        self.torn = True
        with scaled_lr(self.optimizers, self.lr_factor()):
            for optimizer in self.optimizers:
                optimizer.step()
        self.taken += 1
        return True

    def lr_factor(self) -> float:
        """Return the factor of the scheduler's learning rates: warm-up times decay."""
        trainer = self.trainer
        decay = decay_factor(self.budget.progress, trainer.decay, trainer.final_lr)
        return warmup_factor(self.taken, trainer.warmup_steps) * decay

    def _average(self, loss: Tensor) -> Tensor:
        """Divide the sums of gradients and loss by the number of samples; return the mean loss."""
        grads = [p.grad for p in self.watch.parameters if p.grad is not None]
        flat = torch.cat([loss.float().reshape(1), *(grad.float().flatten() for grad in grads)])
        flat = self.processes.sum(flat) / self._samples
        means = flat[1:].split([grad.numel() for grad in grads])
        for grad, mean in zip(grads, means, strict=True):
            grad.copy_(mean.view_as(grad))
        return flat[0]


def _check_losses(losses: Any) -> None:
    """Raise unless a loss consists of scalar terms, a total among them.

    Raises:
        TypeError: If it is no dictionary of tensors.
        ValueError: If a term is no scalar, or there is no total.
    """
    if not isinstance(losses, Mapping):
        raise TypeError(f"loss must return a dictionary of terms, got {type(losses).__name__}")
    for name, value in losses.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"loss must return tensors, got {type(value).__name__} for {name!r}")
        if value.ndim:
            shape = tuple(value.shape)
            raise ValueError(f"loss must return scalars, got shape {shape} for {name!r}")
    if "total" not in losses:
        named = ", ".join(losses) or "none"
        raise ValueError(f"loss must return a 'total' among its terms, got {named}")
