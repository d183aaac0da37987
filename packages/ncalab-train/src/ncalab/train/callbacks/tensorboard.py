"""Losses, metrics, learning rates and hyper-parameters of a training in TensorBoard."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncalab.train.callbacks.callback import BatchResult, Callback, EpochResult, Training
from ncalab.train.fingerprint import PARAMETERS
from ncalab.train.guard import Guard

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Losses are read from the device together: every read makes the host wait.
_LOSSES_PER_READ = 256


class TensorBoardLogger(Callback):
    """Write losses, metrics, learning rates and hyper-parameters.

    A writer that fails does not end a training.

    Args:
        writer: TensorBoard writer.
        guard: Logs the writer's first failure.
        info: Description of the training, in Markdown.
    """

    def __init__(self, writer: "SummaryWriter", guard: Guard, info: str = "") -> None:
        self.writer, self.guard, self.info = writer, guard, info
        self._losses: list[tuple[int, dict[str, Tensor]]] = []

    def _write(self, method: str, *arguments: Any, **options: Any) -> None:
        with self.guard(f"summary_writer.{method}"):
            getattr(self.writer, method)(*arguments, **options)

    def on_start(self, training: Training) -> None:
        """Write the description of the training."""
        self._write("add_text", "Training", self.info)

    def on_batch_end(self, training: Training, batch: BatchResult) -> None:
        """Note the loss terms of a batch, to be written later."""
        self.add_losses(batch.losses, batch.iteration)

    def add_losses(self, losses: dict[str, Tensor], iteration: int) -> None:
        """Note the loss terms of an iteration, to be written later."""
        self._losses.append((iteration, losses))
        if len(self._losses) >= _LOSSES_PER_READ:
            self.flush()

    def flush(self) -> None:
        """Write the losses noted so far."""
        if not self._losses:
            return
        keyed = {(i, name): value for i, terms in self._losses for name, value in terms.items()}
        self._losses = []
        numbers = torch.stack([value.float() for value in keyed.values()]).tolist()
        for (iteration, name), value in zip(keyed, numbers, strict=True):
            self._write("add_scalar", f"Loss/train_{name}", value, iteration)

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Write the values of an epoch."""
        self.flush()
        self._write("add_scalar", "LR", epoch.lr, epoch.number)
        for name, measured in epoch.metrics.items():
            self._write("add_scalar", f"Metric/val_{name}", measured, epoch.number)

    def figure(self, tag: str, figure: Any, epoch: int) -> None:
        """Write a matplotlib figure."""
        self._write("add_figure", tag, figure, epoch)

    def on_end(self, training: Training) -> None:
        """Write the losses that are left, and hyper-parameters with what came of them."""
        self.flush()
        history = training.history
        if training.status != "finished" or not history.best_epoch:
            return
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in training.settings.items()
            if name != PARAMETERS  # too long for a column of a table
        }
        metrics = {"best": history.best_accuracy, "best_epoch": float(history.best_epoch)}
        metrics |= {f"test_{name}": value for name, value in history.test_metrics.items()}
        scalars = {f"hparams/{name}": value for name, value in metrics.items()}
        # In the writer's own folder, so that curves and hyper-parameters are one run.
        self._write("add_hparams", plain, scalars, run_name=".")
