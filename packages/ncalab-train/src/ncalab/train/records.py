"""What TensorBoard is told of a training."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ncalab.train.history import TrainingHistory

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

# Losses are read from the device together: every read makes the host wait.
_LOSSES_PER_READ = 256


def to_floats(values: dict[str, Tensor]) -> dict[str, float]:
    """Read scalars from their device, all at once."""
    numbers = torch.stack([value.float() for value in values.values()]).tolist()
    return dict(zip(values, numbers, strict=True))


class Records:
    """Write losses, metrics, learning rates and hyper-parameters; without a writer, nothing.

    Args:
        writer: TensorBoard writer.
    """

    def __init__(self, writer: "SummaryWriter | None") -> None:
        self.writer = writer
        self._losses: list[tuple[int, dict[str, Tensor]]] = []

    def losses(self, losses: dict[str, Tensor], iteration: int) -> None:
        """Take note of the loss terms of an iteration."""
        if self.writer is None:
            return
        self._losses.append((iteration, losses))
        if len(self._losses) >= _LOSSES_PER_READ:
            self.flush()

    def flush(self) -> None:
        """Write the losses noted so far."""
        if self.writer is None or not self._losses:
            return
        keyed = {(i, name): value for i, terms in self._losses for name, value in terms.items()}
        numbers = torch.stack([value.float() for value in keyed.values()]).tolist()
        for (iteration, name), value in zip(keyed, numbers, strict=True):
            self.writer.add_scalar(f"Loss/train_{name}", value, iteration)
        self._losses = []

    def epoch(self, number: int, *, lr: float, metrics: dict[str, float]) -> None:
        """Write the values of an epoch."""
        self.flush()
        if self.writer is None:
            return
        self.writer.add_scalar("LR", lr, number)
        for name, measured in metrics.items():
            self.writer.add_scalar(f"Metric/val_{name}", measured, number)

    def hyperparameters(self, settings: dict[str, Any], history: TrainingHistory) -> None:
        """Write what the run was trained with, and how well it went."""
        if self.writer is None or not history.best_epoch:
            return
        plain = {
            name: value if isinstance(value, bool | int | float | str) else str(value)
            for name, value in settings.items()
        }
        metrics = {"best": history.best_accuracy, "best_epoch": float(history.best_epoch)}
        metrics |= {f"test_{name}": value for name, value in history.test_metrics.items()}
        scalars = {f"hparams/{name}": value for name, value in metrics.items()}
        # In the writer's own folder, so that curves and hyper-parameters are one run.
        self.writer.add_hparams(plain, scalars, run_name=".")
