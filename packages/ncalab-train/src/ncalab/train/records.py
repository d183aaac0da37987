"""What TensorBoard is told of a training."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncalab.train.guard import Guard
from ncalab.train.history import TrainingHistory
from ncalab.train.settings import PARAMETERS

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Losses are read from the device together: every read makes the host wait.
_LOSSES_PER_READ = 256


class Records:
    """Write losses, metrics, learning rates and hyper-parameters; without a writer, nothing.

    A writer that fails ends no training.

    Args:
        writer: TensorBoard writer.
        guard: Tells of the writer's first failure.
    """

    def __init__(self, writer: "SummaryWriter | None", guard: Guard) -> None:
        self.writer, self.guard = writer, guard
        self._losses: list[tuple[int, dict[str, Tensor]]] = []

    def _write(self, method: str, *arguments: Any, **options: Any) -> None:
        if self.writer is not None:
            with self.guard(f"summary_writer.{method}"):
                getattr(self.writer, method)(*arguments, **options)

    def losses(self, losses: dict[str, Tensor], iteration: int) -> None:
        """Take note of the loss terms of an iteration."""
        if self.writer is None:
            return
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

    def epoch(self, number: int, *, lr: float, metrics: dict[str, float]) -> None:
        """Write the values of an epoch."""
        self.flush()
        self._write("add_scalar", "LR", lr, number)
        for name, measured in metrics.items():
            self._write("add_scalar", f"Metric/val_{name}", measured, number)

    def text(self, tag: str, text: str) -> None:
        """Write a text in Markdown."""
        self._write("add_text", tag, text)

    def figure(self, tag: str, figure: Any, epoch: int) -> None:
        """Write a matplotlib figure."""
        self._write("add_figure", tag, figure, epoch)

    def hyperparameters(self, settings: dict[str, Any], history: TrainingHistory) -> None:
        """Write what the run was trained with, and how well it went."""
        if not history.best_epoch:
            return
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in settings.items()
            if name != PARAMETERS  # a column of a table is no place for it
        }
        metrics = {"best": history.best_accuracy, "best_epoch": float(history.best_epoch)}
        metrics |= {f"test_{name}": value for name, value in history.test_metrics.items()}
        scalars = {f"hparams/{name}": value for name, value in metrics.items()}
        # In the writer's own folder, so that curves and hyper-parameters are one run.
        self._write("add_hparams", plain, scalars, run_name=".")
