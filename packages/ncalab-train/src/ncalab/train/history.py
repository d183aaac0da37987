"""The history of a training: curves and best weights, and the files of its run folder."""

import csv
import io
import logging
import math
from collections.abc import Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.argument_types import check_mapping, check_path
from ncalab.core.checks import check_flag, check_int, check_number, check_type
from ncalab.core.run_record import HISTORY_NAME as HISTORY_NAME
from ncalab.core.saving import PathLike, atomic_write, save_weights
from ncalab.train.early_stopping import improves
from ncalab.train.json_file import write_json
from ncalab.train.visuals import find_plot

logger = logging.getLogger(__name__)

LAST_NAME = "last_model.safetensors"
BEST_NAME = "best_model.safetensors"
AVERAGE_NAME = "average_model.safetensors"
CSV_NAME = "history.csv"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _extend(curves: dict[str, list[float]], values: Mapping[str, float], epochs: int) -> None:
    """Append an epoch to curves of so many epochs, in place."""
    for name in values:
        curves.setdefault(name, [math.nan] * epochs)
    for name, curve in curves.items():
        curve.append(values.get(name, math.nan))


class TrainingHistory:
    """Curves, best weights and timestamps of a training.

    Args:
        path: Run folder that :meth:`save` writes to; None to keep everything in memory.
        metrics: Latest validation metrics by name.
        current_epoch: Number of epochs done.
        current_model: Model in training.
        best_accuracy: Best value of the deciding metric. Any first value beats it; NaN once an
            epoch has passed and none had a value.
        best_epoch: Epoch of that value, counted from 1; 0 before the first.
        best_model: Model with the best weights, once the training has ended.
        verbose: Whether to log (level INFO) each improvement.
        higher_is_better: Direction of the deciding metric.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If a number of epochs is negative.
    """

    def __init__(
        self,
        path: PathLike | None,
        metrics: dict[str, float],
        current_epoch: int,
        current_model: AbstractNCAModel,
        best_accuracy: float = 0,
        best_epoch: int = 0,
        best_model: AbstractNCAModel | None = None,
        verbose: bool = True,
        *,
        higher_is_better: bool = True,
    ) -> None:
        check_mapping("metrics", metrics)
        check_type("current_model", current_model, AbstractNCAModel)
        check_number("best_accuracy", best_accuracy)
        check_type("best_model", best_model, AbstractNCAModel, optional=True)
        self.path = None if path is None else check_path("path", path)
        self.metrics = metrics
        self.current_epoch = check_int("current_epoch", current_epoch, minimum=0)
        self.current_model = current_model
        self.best_accuracy = best_accuracy
        self.best_epoch = check_int("best_epoch", best_epoch, minimum=0)
        self.best_model = best_model
        self.verbose = check_flag("verbose", verbose)
        self.higher_is_better = check_flag("higher_is_better", higher_is_better)
        self.created_timestamp = self.modified_timestamp = _now()
        self.loss: list[float] = []
        self.losses: dict[str, list[float]] = {}
        self.metric_curves: dict[str, list[float]] = {}
        self.lr: list[float] = []
        self.seconds: list[float] = []
        self.test_metrics: dict[str, float] = {}
        self.interrupted = False
        self.skipped_steps = 0
        self.best_weights: dict[str, Tensor] | None = None
        self.average_weights: dict[str, Tensor] | None = None

    def __repr__(self) -> str:
        """Summarise the training in one line."""
        latest = {"loss": self.loss[-1]} if self.loss else {}
        values = {**latest, **self.metrics}
        shown = "".join(f", {name}={value:.5g}" for name, value in values.items())
        best = f", best_epoch={self.best_epoch}" if self.best_epoch else ""
        where = "" if self.path is None else f", path={str(self.path)!r}"
        return f"{type(self).__name__}(epochs={len(self.loss)}{shown}{best}{where})"

    def add_epoch(
        self,
        losses: Mapping[str, float],
        *,
        lr: float,
        seconds: float,
        metrics: Mapping[str, float] | None = None,
    ) -> None:
        """Append one epoch to the curves; one that has no value for it gets NaN.

        Args:
            losses: Mean of each loss term over the epoch; "total" is also kept as ``loss``.
            lr: Learning rate of the epoch.
            seconds: How long it took.
            metrics: Validation metrics after it, if there was a validation.
        """
        _extend(self.losses, losses, len(self.loss))
        _extend(self.metric_curves, metrics or {}, len(self.loss))
        self.metrics.update(metrics or {})
        self.loss.append(losses["total"])
        self.lr.append(lr)
        self.seconds.append(seconds)

    def update(
        self,
        epoch: int,
        model: AbstractNCAModel,
        accuracy: float,
        overwrite: bool = False,
        *,
        weights: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Record an epoch, and its weights if they are the best so far.

        Args:
            epoch: The epoch, counted from 1.
            model: The model after it.
            accuracy: Its value of the deciding metric (or loss); NaN is never the best.
            overwrite: Whether to take it for the best in any case.
            weights: Weights that were measured, if they are not the model's own (an average).
        """
        self.current_epoch, self.current_model = epoch, model
        self.modified_timestamp = _now()
        best = math.nan if self.best_epoch == 0 else self.best_accuracy
        if not (overwrite or improves(accuracy, best, higher_is_better=self.higher_is_better)):
            # An undefined value is not 0.
            self.best_accuracy = best
            return
        self.best_accuracy, self.best_epoch = accuracy, epoch
        self._keep_best(model.state_dict() if weights is None else weights)
        if self.verbose:
            logger.info("best epoch so far: %d (%.6g)", epoch, accuracy)

    def _keep_best(self, weights: Mapping[str, Tensor]) -> None:
        """Copy weights to the CPU, into the memory of the best ones before."""
        if self.best_weights is None:
            self.best_weights = {k: torch.empty_like(v, device="cpu") for k, v in weights.items()}
        for name, kept in self.best_weights.items():
            kept.copy_(weights[name].detach())

    def finish(self) -> None:
        """Set ``best_model`` to a copy of the model with the best weights."""
        if self.best_weights is not None:
            self.best_model = deepcopy(self.current_model)
            self.best_model.load_state_dict(self.best_weights)
            self.best_model.eval()

    def save(self) -> None:
        """Write history, last weights and best weights into the run folder.

        Each file is replaced in whole or not at all. Without a path, nothing is written.
        """
        if self.path is None:
            return
        kept = {LAST_NAME: self.current_model.state_dict(), BEST_NAME: self.best_weights}
        for name, weights in {**kept, AVERAGE_NAME: self.average_weights}.items():
            if weights is None:
                # That of a run before, which was to be overwritten.
                (self.path / name).unlink(missing_ok=True)
            else:
                save_weights(self.current_model, self.path / name, weights=weights)
        atomic_write(self.path / CSV_NAME, self.to_csv().encode())
        # Last, so that the weights that a history describes are there.
        write_json(self.path / HISTORY_NAME, self.to_dict())

    def to_csv(self) -> str:
        """Return the curves as a table, one line per epoch, for spreadsheets and pandas."""
        columns: dict[str, list[float]] = {"lr": self.lr, "seconds": self.seconds}
        columns |= {f"loss_{name}": curve for name, curve in self.losses.items()}
        columns |= {f"val_{name}": curve for name, curve in self.metric_curves.items()}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["epoch", *columns])
        rows = zip(*columns.values(), strict=True)
        writer.writerows([epoch, *row] for epoch, row in enumerate(rows, start=1))
        return text.getvalue()

    def plot(self) -> Any:
        """Draw the curves with what an installed package offers for it (ncalab-viz does).

        Returns:
            A matplotlib figure.

        Raises:
            ImportError: If no installed package offers it.
        """
        return find_plot("history")(self)

    def to_dict(self) -> dict[str, Any]:
        """Return all recorded values as data for JSON; the best value is NaN if there is none."""
        return {
            "created": self.created_timestamp,
            "modified": self.modified_timestamp,
            "model": self.current_model.to_dict(),
            "current_epoch": self.current_epoch,
            "interrupted": self.interrupted,
            "skipped_steps": self.skipped_steps,
            "best_epoch": self.best_epoch,
            "best_accuracy": self.best_accuracy if self.best_epoch else math.nan,
            "higher_is_better": self.higher_is_better,
            "metrics": self.metrics,
            "test_metrics": self.test_metrics,
            "curves": {
                "losses": self.losses,
                "metrics": self.metric_curves,
                "lr": self.lr,
                "seconds": self.seconds,
            },
        }

    def restore(self, record: Mapping[str, Any], best_weights: dict[str, Tensor] | None) -> None:
        """Restore what :meth:`to_dict` returned, and the best weights.

        Args:
            record: Recorded values.
            best_weights: Weights of the best epoch, on the CPU.
        """
        curves = record["curves"]
        self.losses, self.metric_curves = dict(curves["losses"]), dict(curves["metrics"])
        self.loss = list(self.losses.get("total", []))
        self.lr, self.seconds = list(curves["lr"]), list(curves["seconds"])
        self.created_timestamp, self.modified_timestamp = record["created"], record["modified"]
        self.current_epoch, self.skipped_steps = record["current_epoch"], record["skipped_steps"]
        self.best_epoch, self.best_accuracy = record["best_epoch"], record["best_accuracy"]
        self.metrics, self.test_metrics = dict(record["metrics"]), dict(record["test_metrics"])
        self.higher_is_better = record["higher_is_better"]
        self.best_weights = best_weights
