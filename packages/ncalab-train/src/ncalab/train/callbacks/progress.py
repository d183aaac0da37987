"""Progress of a training: bars in a terminal or a notebook, lines in a log file."""

import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from ncalab.core.progress import bar_rows, progress_bar
from ncalab.train.callbacks.callback import BatchResult, Callback, EpochResult, Training
from ncalab.train.guard import Guard

# Reading the loss from the device makes the host wait; twice a second is often enough to look at.
_SECONDS_BETWEEN_LOOKS = 0.5
_NAME = "progress display"


def epoch_line(number: int, total: int | None, values: Mapping[str, float], seconds: float) -> str:
    """Write one epoch as a line.

    Args:
        number: The epoch, counted from 1.
        total: Number of epochs; None if that is open.
        values: What to show of it.
        seconds: How long it took.

    >>> epoch_line(3, 20, {"loss": 0.25, "lr": 0.0016}, 2.04)
    'epoch 3/20  loss 0.25  lr 0.0016  2.0 s'
    """
    shown = "  ".join(f"{name} {value:.5g}" for name, value in values.items())
    place = str(number) if total is None else f"{number}/{total}"
    return f"epoch {place}  {shown}  {seconds:.1f} s"


class Progress(Callback):
    """Show nested bars over epochs and batches; without a terminal, one line per epoch.

    A context, at whose end the bars are closed. A display that fails does not end a training.

    Args:
        enabled: Whether to show anything.
        epochs: Number of epochs; None if that is open.
        batches: Number of batches per epoch, None if unknown.
        guard: Logs the display's first failure.
    """

    def __init__(
        self,
        *,
        enabled: bool,
        epochs: int | None,
        batches: int | None,
        guard: Guard | None = None,
    ) -> None:
        self.enabled, self.epochs, self.batches = enabled, epochs, batches
        self._guard = guard or Guard()
        self._outer: Any = None
        self._inner: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for bar in (self._inner, self._outer):
            if bar is not None:
                with self._guard(_NAME):
                    bar.close()

    def on_start(self, training: Training) -> None:
        """Open the bars."""
        if self.enabled:
            with self._guard(_NAME):
                self._open(training.history.current_epoch)

    def _open(self, done: int) -> None:
        rows = bar_rows()
        if not rows:
            return
        self._outer = progress_bar(total=self.epochs, initial=done, desc="training", unit="epoch")
        if self.batches != 1 and rows > 1:
            self._inner = progress_bar(
                total=self.batches, unit="batch", leave=False, mininterval=_SECONDS_BETWEEN_LOOKS
            )

    def on_epoch_start(self, training: Training, number: int) -> None:
        """Begin the bar of an epoch."""
        if self._inner is not None:
            with self._guard(_NAME):
                self._inner.set_description(f"epoch {number}", refresh=False)
                self._inner.reset()  # shows the description, too
                self._inner.update(training.batches)

    def on_batch_end(self, training: Training, batch: BatchResult) -> None:
        """Count a batch; its loss is read only when it is shown."""
        if self._inner is not None:
            with self._guard(_NAME):
                if self._inner.update():
                    self._inner.set_postfix(
                        loss=f"{float(batch.losses['total']):.5g}", refresh=False
                    )

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Show the values of an epoch."""
        if not self.enabled:
            return
        values = {"loss": epoch.losses["total"], **epoch.metrics, "lr": epoch.lr}
        with self._guard(_NAME):
            if self._outer is None:
                line = epoch_line(epoch.number, self.epochs, values, epoch.seconds)
                sys.stderr.write(line + "\n")
                sys.stderr.flush()
                return
            shown = {name: f"{value:.5g}" for name, value in values.items()}
            self._outer.set_postfix(shown, refresh=False)
            self._outer.update()
