"""The result of a cross-validation: a history for each fold, their mean and deviation."""

import math
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ncalab.core import AbstractNCAModel
from ncalab.core.argument_types import check_types
from ncalab.core.checks import check_type
from ncalab.core.run_record import read_history_file
from ncalab.train.executors import Failure
from ncalab.train.history import BEST_NAME, HISTORY_NAME, LAST_NAME, TrainingHistory
from ncalab.train.json_file import with_nan
from ncalab.train.result import summarize

if TYPE_CHECKING:
    import pandas as pd


class CrossValidation(list[TrainingHistory]):
    """The histories of all folds, in order, with means and deviations.

    The values of a fold are those of its best epoch: its validation metrics by name, its training
    loss as "loss", and as "test_<name>" the metrics of the test data, if there are any. They are
    NaN for a fold without a best epoch, whose deciding metric was always undefined; so are the
    means then.

    Args:
        histories: Histories of finished trainings, at least one.
    """

    def __init__(self, histories: Iterable[TrainingHistory]) -> None:
        histories = list(histories) if isinstance(histories, Iterable) else histories
        check_types("histories", histories, TrainingHistory)
        super().__init__(histories)
        self.values = [_values(history) for history in self]

    @property
    def mean(self) -> dict[str, float]:
        """Mean of each value over the folds."""
        return {name: float(np.mean(self._column(name))) for name in self._names()}

    @property
    def std(self) -> dict[str, float]:
        """Standard deviation of each value over the folds, of a sample (n - 1); NaN of one fold."""
        if len(self) == 1:
            return dict.fromkeys(self._names(), math.nan)
        return {name: float(np.std(self._column(name), ddof=1)) for name in self._names()}

    def _names(self) -> list[str]:
        # A fold without a best epoch has no test metrics.
        return list(dict.fromkeys(name for values in self.values for name in values))

    def _column(self, name: str) -> list[float]:
        return [values.get(name, math.nan) for values in self.values]

    def table(self) -> "pd.DataFrame":
        """Return a table with a row for each fold: its best epoch and its values."""
        import pandas as pd

        rows = [
            {"fold": index, "best_epoch": history.best_epoch, **values}
            for index, (history, values) in enumerate(zip(self, self.values, strict=True))
        ]
        return pd.DataFrame(rows)

    def info(self) -> str:
        """Describe the result in Markdown: mean and standard deviation of each value."""
        mean, std = self.mean, self.std
        rows = [f"| {name} | {_shown(mean[name])} ± {_shown(std[name])} |" for name in mean]
        return "\n".join([f"| {len(self)} folds | mean ± std |", "|---|---|", *rows])


class CrossValidationError(RuntimeError):
    """Some folds of a cross-validation could not be trained; those that could are kept.

    Args:
        failures: What happened, by fold.
        histories: Histories of the folds that were trained.
    """

    def __init__(
        self, failures: Mapping[int, Failure], histories: Mapping[int, TrainingHistory]
    ) -> None:
        check_type("failures", failures, Mapping)
        check_type("histories", histories, Mapping)
        self.failures = dict(failures)
        self.histories = dict(histories)
        reasons = "; ".join(f"fold {i}: {failures[i].error}" for i in sorted(failures))
        super().__init__(
            f"{len(failures)} of {len(failures) + len(histories)} folds failed ({reasons}); the "
            "others are in the attribute histories, and train no more if there is a model_path"
        )


def _shown(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.4f}"


def _values(history: TrainingHistory) -> dict[str, float]:
    result = summarize(history)
    tested = {f"test_{name}": value for name, value in result.test_metrics.items()}
    return {**result.metrics, "loss": result.loss, **tested}


def read_history(folder: Path, prototype: AbstractNCAModel) -> TrainingHistory:
    """Read a finished training: its curves, and copies of the model with last and best weights.

    Args:
        folder: Run folder.
        prototype: Model of the class and configuration that was trained; not changed.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one is broken.
    """
    data = with_nan(read_history_file(folder / HISTORY_NAME))
    last = prototype.load(deepcopy(prototype), folder / LAST_NAME)
    weights = None
    if data["best_epoch"]:
        best = prototype.load(deepcopy(prototype), folder / BEST_NAME)
        weights = {name: value.cpu() for name, value in best.state_dict().items()}
    history = TrainingHistory(folder, {}, 0, last)
    try:
        history.restore(data, weights)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise ValueError(f"{folder / HISTORY_NAME} must hold a history: {error!r}") from None
    history.finish()
    return history
