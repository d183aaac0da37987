"""One optimiser step: rollouts, losses and gradients of a group of batches, applied once."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ncalab.core import AbstractNCAModel, Prediction, interpret_range_parameter
from ncalab.core.fire import draw_seed
from ncalab.train.batches import PreparedBatch
from ncalab.train.budget import Budget, decay_factor, shortened, warmup_factor
from ncalab.train.config import TrainingConfig
from ncalab.train.distributed import SingleProcess
from ncalab.train.epoch_values import NonFiniteMonitor
from ncalab.train.operation_threads import OperationThreads

_MAX_GRADIENT_NORM = 1.0


class OptimizerStep:
    """Take optimiser steps on one model.

    A step is :meth:`start`, then :meth:`begin` and :meth:`train` for each of its batches, then
    :meth:`end`. The last batch's :meth:`train` steps the optimisers.

    Args:
        nca: Model to train.
        config: Settings.
        optimizers: Optimisers to step, each parameter in one of them at most.
        processes: Processes that share the work.
        budget: Reports how much of the training is done.

    Attributes:
        taken: Number of steps taken.
        torn: Whether weights may be ahead of what else a step changes.
        weighted: Whether gradients are those of several batches or processes, weighted by samples.
    """

    def __init__(
        self,
        nca: AbstractNCAModel,
        config: TrainingConfig,
        optimizers: Sequence[Optimizer],
        processes: SingleProcess | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.nca, self.config, self.optimizers = nca, config, list(optimizers)
        self.processes = processes or SingleProcess()
        self.budget = budget or Budget(config.max_epochs, config.max_minutes)
        self.monitor = NonFiniteMonitor(nca)
        self.operation_threads = OperationThreads(nca)
        self.taken = 0
        self.torn = False
        # Gradients of one whole batch need no weights: they are what its loss gives.
        self.weighted = config.accumulate > 1 or self.processes.count > 1
        self._left, self._number = 0, 0
        self._length = 0
        self._seed: int | None = None
        self._batch: PreparedBatch | None = None
        self._losses: list[Tensor] = []
        self._samples = 0
        self._skipped = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Notice when an optimiser is stepped, whoever does it."""

        def tear(*_: Any) -> None:
            self.torn = True

        hooks = [optimizer.register_step_pre_hook(tear) for optimizer in self.optimizers]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def start(self, batches: int, *, number: int) -> None:
        """Start a step.

        Args:
            batches: Number of its batches.
            number: Number of the step's last batch in the epoch, to report the first one that is
                not finite.
        """
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self._left, self._number = batches, number
        self._batch, self._losses, self._samples, self._skipped = None, [], 0, False

    def begin(self, batch: PreparedBatch) -> None:
        """Begin a batch; all batches of a step take as many cell steps, as if they were one."""
        if self._batch is None:
            self._length = self._draw_length()
            self._seed = draw_seed() if self.weighted else None
        self._batch = batch

    def _draw_length(self) -> int:
        """Draw the number of steps of a rollout; short ones come first if the settings say so."""
        steps = interpret_range_parameter(self.nca.training_timesteps)
        # A cascade takes at least a step at each of its scales.
        fewest = len(getattr(self.nca, "scales", [1]))
        return shortened(steps, self.budget.progress, self.config.first_steps, fewest=fewest)

    def train(
        self, x: Tensor, y: Tensor, optimizers: Sequence[Optimizer]
    ) -> tuple[Prediction, dict[str, Tensor]]:
        """Add the gradients of the batch; after the last one, step the optimisers.

        Args:
            x: States, shape ``(B, C, W, H)``, on the model's device.
            y: Labels, batch first.
            optimizers: Optimisers to step.

        Returns:
            Prediction and loss terms, both without their graph.
        """
        batch = self._batch
        if batch is None or not self._left:
            raise RuntimeError("_train_iteration must be called once for each batch of a training")
        with self.operation_threads.deciding(), self._autocast():
            prediction = self.nca(x, self._length, **self._rollout_options(batch))
            losses = self.nca.loss(prediction, y)
            check_losses(losses)
        # A loss is the mean over its batch; the mean over a group of batches weighs by samples.
        loss = losses["total"] * batch.counted if self.weighted else losses["total"]
        loss.backward()
        self._losses.append(loss.detach())
        self._samples += batch.total
        self._left -= 1
        if not self._left:
            self._apply(optimizers)
        return prediction.detach(), {name: value.detach() for name, value in losses.items()}

    def _rollout_options(self, batch: PreparedBatch) -> dict[str, Any]:
        """Return further arguments of the model's forward."""
        options: dict[str, Any] = {} if batch.goal is None else {"goal": batch.goal}
        if self._seed is not None:
            samples = [self._samples + index for index in batch.samples]
            options |= {"seed": self._seed, "samples": samples}
        if self.config.checkpoint is not None:
            options["checkpoint"] = self.config.checkpoint
        return options

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.config.precision == "float32" and not self.processes.bf16:
            return nullcontext()
        return torch.autocast(self.nca.device.type, torch.bfloat16)

    def _apply(self, optimizers: Sequence[Optimizer]) -> None:
        """Step the optimisers, unless the step is to be skipped."""
        loss = torch.stack(self._losses).sum()
        if self.weighted:
            loss = self._average(loss)
        if self.config.skip_nonfinite:
            self._skipped = not bool((self.monitor.gradient_norms().sum() + loss).isfinite())
            if self._skipped:
                return
        else:
            self.monitor.observe(loss, self._number)
        if self.config.gradient_normalization:
            normalize_gradients(self.nca.parameters())
        if self.config.gradient_clipping:
            nn.utils.clip_grad_norm_(self.nca.parameters(), _MAX_GRADIENT_NORM)
        with scaled_lr(optimizers, self.lr_factor()):
            for optimizer in optimizers:
                optimizer.step()

    def end(self) -> bool:
        """End the step, and return whether it was taken; with ``skip_nonfinite`` it may be not."""
        if self._losses and self._left:
            # A subclass of the trainer left out some of the batches.
            self._apply(self.optimizers)
        self.taken += not self._skipped
        return not self._skipped

    def lr(self) -> float:
        """Return the model's learning rate of the next step; of several groups, the first one's."""
        rate: float = self.optimizers[0].param_groups[0]["lr"]
        return rate * self.lr_factor()

    def lr_factor(self) -> float:
        """Return the factor of the scheduler's learning rates: warm-up times decay."""
        decay = decay_factor(self.budget.progress, self.config.decay, self.config.final_lr)
        return warmup_factor(self.taken, self.config.warmup_steps) * decay

    def _average(self, loss: Tensor) -> Tensor:
        """Divide the sums of gradients and loss by the number of samples; return the mean loss."""
        grads = [p.grad for p in self.monitor.parameters if p.grad is not None]
        flat = torch.cat([loss.float().reshape(1), *(grad.float().flatten() for grad in grads)])
        flat = self.processes.sum(flat) / self._samples
        means = flat[1:].split([grad.numel() for grad in grads])
        for grad, mean in zip(grads, means, strict=True):
            grad.copy_(mean.view_as(grad))
        return flat[0]


def check_losses(losses: Any) -> None:
    """Raise unless a loss consists of scalar terms, a total among them.

    Raises:
        TypeError: If it is not a dictionary of tensors.
        ValueError: If a term is not a scalar, or no term is the total.
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


def check_trained(trained: Any) -> tuple[Prediction, dict[str, Tensor]]:
    """Return what ``_train_iteration`` has returned, without its graph.

    Raises:
        TypeError: If it is not a pair of a prediction and loss terms.
        ValueError: If a term is not a scalar, or no term is the total.
    """
    if (
        not isinstance(trained, tuple)
        or len(trained) != 2
        or not isinstance(trained[0], Prediction)
    ):
        raise TypeError(
            "_train_iteration must return a pair of a Prediction and loss terms, "
            f"got {type(trained).__name__}"
        )
    prediction, losses = trained
    check_losses(losses)
    if prediction.output_image.requires_grad:
        prediction = prediction.detach()
    return prediction, {name: value.detach() for name, value in losses.items()}


@contextmanager
def scaled_lr(optimizers: Iterable[Optimizer], factor: float) -> Iterator[None]:
    """Multiply learning rates for a while; the schedule does not notice."""
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    rates = [group["lr"] for group in groups]
    for group, rate in zip(groups, rates, strict=True):
        group["lr"] = rate * factor
    try:
        yield
    finally:
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate


def normalize_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Scale the gradient of every parameter tensor to length 1, in place.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, accompanying notebook: "per-variable L2 normalization".
    """
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad /= parameter.grad.norm() + 1e-8
