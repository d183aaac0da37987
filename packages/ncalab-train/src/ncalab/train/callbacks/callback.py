"""The protocol of callbacks: their methods, and what a training passes to them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.train.health import CellStatistics
from ncalab.train.history import TrainingHistory

Status = Literal["running", "finished", "interrupted", "failed"]


@dataclass(frozen=True)
class BatchResult:
    """A batch that has been trained on.

    Attributes:
        iteration: Number of batches of the training before it.
        x: States before the rollout, shape ``(B, C, W, H)``.
        prediction: Prediction after the rollout, without its graph.
        y: Labels, batch first.
        losses: Loss terms by name, "total" among them, as scalars on the model's device: reading
            one makes the host wait for the device.
    """

    iteration: int
    x: Tensor
    prediction: Prediction
    y: Tensor
    losses: dict[str, Tensor]


@dataclass(frozen=True)
class EpochResult:
    """An epoch that has ended.

    Attributes:
        number: The epoch, counted from 1.
        losses: Mean of each loss term over the epoch, "total" among them.
        metrics: Validation metrics by name; empty without validation data.
        value: What decides which epoch is best: the validation metric, else the training loss.
        lr: Learning rate when the epoch began.
        seconds: How long the epoch took, with its validation.
        cells: Statistics of the cells of the last batch.
        save_due: Whether the run is saved and figures are drawn after the epoch.
    """

    number: int
    losses: dict[str, float]
    metrics: dict[str, float]
    value: float
    lr: float
    seconds: float
    cells: CellStatistics
    save_due: bool


class Training(Protocol):
    """A training as its callbacks see it."""

    @property
    def nca(self) -> AbstractNCAModel:
        """Model, with its weights as they are now."""

    @property
    def history(self) -> TrainingHistory:
        """Curves, best weights and number of epochs so far, and the run folder: ``history.path``.

        The folder is None if nothing is saved.
        """

    @property
    def settings(self) -> Mapping[str, Any]:
        """Settings of model, trainer, optimiser and data by name, as plain values."""

    @property
    def batches(self) -> int:
        """Number of batches done in the current epoch."""

    @property
    def iterations(self) -> int:
        """Number of batches done in the whole training."""

    @property
    def status(self) -> Status:
        """State: "running", "finished", "interrupted" (by Ctrl-C) or "failed" (by an error)."""

    def averaged_model(self) -> AbstractNCAModel:
        """Return the model with averaged weights, or the trained model if no average is kept."""

    def stop(self) -> None:
        """End the training after the current epoch; it is saved."""

    def save(self) -> None:
        """Save the run as it is now; without a run folder, nothing."""


class Callback:
    """Do something at the events of a training.

    Derive from it, override the methods you need, and pass an object to
    ``BasicNCATrainer.train(..., callbacks=[...])``. Callbacks are called in the order of that list,
    between two steps, when all state of the training is whole. An error in one ends the training,
    which is saved first. What a callback draws at random changes nothing about the training. Of
    several processes that share a training, the first one calls.

    >>> class LossPrinter(Callback):
    ...     def on_epoch_end(self, training, epoch):
    ...         print(f"epoch {epoch.number}: loss {epoch.losses['total']:.3f}")
    """

    def on_start(self, training: Training) -> None:
        """Called once, before the first epoch; of a resumed training, after it was restored."""

    def on_epoch_start(self, training: Training, number: int) -> None:
        """Called before the first batch of an epoch, or before the next one if it is resumed.

        Args:
            training: The training.
            number: The epoch, counted from 1.
        """

    def on_batch_end(self, training: Training, batch: BatchResult) -> None:
        """Called for each batch after its optimiser step; not for batches of a skipped step."""

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Called after each epoch and its validation, before the run is saved."""

    def on_save(self, training: Training) -> None:
        """Called after the files of the run folder were written."""

    def on_end(self, training: Training) -> None:
        """Called once at the end, however the training ended: see ``training.status``."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state to keep in checkpoints.

        Returns:
            Dicts, lists and tuples of tensors, numbers, strings, booleans and None; empty for no
            state.
        """
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; called before :meth:`on_start` on resuming."""


EVENTS = ("on_start", "on_epoch_start", "on_batch_end", "on_epoch_end", "on_save", "on_end")
"""Names of the methods that a training calls."""
