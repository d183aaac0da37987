"""The result of a finished training, in memory and as JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ncalab.core.json_file import COUNT, FLAG, NUMBER_OR_NULL, NUMBERS, TEXT, check_fields
from ncalab.train.history import TrainingHistory
from ncalab.train.json_file import read_json, with_nan, write_json


@dataclass(frozen=True)
class TrainingResult:
    """Result of a finished training.

    Args:
        metric: Name of the deciding metric, "loss" without validation.
        higher_is_better: Its direction.
        value: Its best value; NaN if it was undefined after every epoch.
        best_epoch: Epoch of that value, from 1; 0 if there is none, and NaN below.
        epochs: Number of epochs that were trained.
        loss: Training loss of the best epoch.
        metrics: All validation metrics of the best epoch.
        test_metrics: Metrics of the test data, with the best weights.
    """

    metric: str
    higher_is_better: bool
    value: float
    best_epoch: int
    epochs: int
    loss: float
    metrics: dict[str, float] = field(default_factory=dict)
    test_metrics: dict[str, float] = field(default_factory=dict)


def summarize(history: TrainingHistory) -> TrainingResult:
    """Summarize a training.

    Args:
        history: History of a finished training.
    """
    metric = str(history.current_model.validation_metric) if history.metric_curves else "loss"
    best = history.best_epoch
    return TrainingResult(
        metric=metric,
        higher_is_better=history.higher_is_better,
        value=history.best_accuracy if best else math.nan,
        best_epoch=best,
        epochs=len(history.loss),
        loss=_at(history.loss, best),
        metrics={name: _at(curve, best) for name, curve in history.metric_curves.items()},
        test_metrics=dict(history.test_metrics),
    )


def _at(curve: Sequence[float], epoch: int) -> float:
    """Return the value of an epoch; NaN of none."""
    return curve[epoch - 1] if epoch else math.nan


_RULES = {
    "metric": TEXT,
    "higher_is_better": FLAG,
    "value": NUMBER_OR_NULL,
    "best_epoch": COUNT,
    "epochs": COUNT,
    "loss": NUMBER_OR_NULL,
    "metrics": NUMBERS,
    "test_metrics": NUMBERS,
}


def read_result(path: Path) -> TrainingResult:
    """Read what :func:`write_result` wrote.

    Raises:
        ValueError: If the file holds anything else.
    """
    data = read_json(path)
    check_fields(path, data, _RULES)
    try:
        return TrainingResult(**{key: with_nan(value) for key, value in data.items()})
    except TypeError as error:
        raise ValueError(f"{path} must hold the result of a training: {error}") from None


def write_result(path: Path, result: TrainingResult) -> None:
    """Write a result as JSON, in whole or not at all."""
    write_json(path, asdict(result))
