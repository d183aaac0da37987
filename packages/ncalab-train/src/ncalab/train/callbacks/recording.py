"""Callbacks that record every epoch: history, health warnings and early stopping."""

from ncalab.train.callbacks.callback import Callback, EpochResult, Training
from ncalab.train.early_stopping import EarlyStopping, check_stopping
from ncalab.train.health import HealthMonitor
from ncalab.train.metrics import single_metrics
from ncalab.train.stuck import warn_if_at_worst, warn_if_undefined


class HistoryRecorder(Callback):
    """Add every epoch to the history, with the weights if they are the best so far."""

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Record values and weights; where there is an average of the weights, that one."""
        model, history = training.averaged_model(), training.history
        averaged = None if model is training.nca else model.state_dict()
        history.add_epoch(epoch.losses, lr=epoch.lr, seconds=epoch.seconds, metrics=epoch.metrics)
        history.update(epoch.number, training.nca, epoch.value, weights=averaged)
        history.average_weights = averaged


class HealthWarnings(Callback):
    """Warn of a score that does not move, a loss that does not fall, and cells in trouble.

    Args:
        validated: Whether there are validation data.
        warmup: Number of batches in which the learning rate rises, and the loss may stay.
    """

    def __init__(self, *, validated: bool, warmup: int) -> None:
        self.validated, self.warmup = validated, warmup
        self.monitor = HealthMonitor()
        self._at_worst = self._undefined = False

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Look at the epochs so far."""
        self._look_at_score(training)
        warming = training.iterations < self.warmup
        self.monitor.see_epoch(training.history.loss, epoch.cells, warming=warming)

    def on_end(self, training: Training) -> None:
        """Look at all epochs of a short training."""
        if training.status == "finished":
            self._look_at_score(training, ended=True)

    def _look_at_score(self, training: Training, *, ended: bool = False) -> None:
        """Warn once of a score that stays at its worst, and once of one that is undefined."""
        if not self.validated:
            return
        name, history = str(training.nca.validation_metric), training.history
        curve = history.metric_curves.get(name, [])
        self._at_worst = self._at_worst or warn_if_at_worst(
            name,
            curve,
            single_metrics(training.nca)[name],
            higher_is_better=history.higher_is_better,
            batches=training.iterations,
            ended=ended,
        )
        self._undefined = self._undefined or warn_if_undefined(name, curve, ended=ended)


class EarlyStop(Callback):
    """Stop a training when its early stopping says so.

    Args:
        stopping: Counts the epochs without improvement, from now on.
        higher_is_better: Direction of the deciding value.

    Raises:
        TypeError: If it is not an EarlyStopping.
        ValueError: If it waits for the other direction.
    """

    def __init__(self, stopping: EarlyStopping, *, higher_is_better: bool) -> None:
        check_stopping(stopping, higher_is_better=higher_is_better)
        stopping.reset(higher_is_better=higher_is_better)
        self.stopping = stopping

    def on_start(self, training: Training) -> None:
        """Stop a resumed training that had been stopped."""
        if self.stopping.done():
            training.stop()

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Count the epoch."""
        self.stopping.step(epoch.value)
        if self.stopping.done():
            training.stop()
