"""The trials of a search as a table, the best first."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ncalab.train.executors import Failure
from ncalab.train.result import TrainingResult

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Trial:
    """A trial that has ended, well or badly."""

    result: TrainingResult | None
    failure: Failure | None = None


def trial_table(trials: Mapping[int, tuple[dict[str, Any], Trial]]) -> "pd.DataFrame":
    """Make a table of trials, sorted by the deciding metric; failed ones last.

    Args:
        trials: Searched parameters and outcome of each trial by its number; one has not failed.

    Returns:
        Columns: trial, parameters, deciding metric, other metrics, loss, best_epoch, epochs,
        error. A parameter that has the name of another column becomes "parameter <name>".
    """
    import pandas as pd

    results = [trial.result for _, trial in trials.values() if trial.result is not None]
    # All of one model class, on the same data: they agree in these.
    metric, higher = results[0].metric, results[0].higher_is_better
    metrics = dict.fromkeys([metric, *results[0].metrics, "loss"])
    taken = {"trial", *metrics, "best_epoch", "epochs", "error"}
    rows = []
    for number, (parameters, trial) in trials.items():
        named = {f"parameter {k}" if k in taken else k: v for k, v in parameters.items()}
        rows.append({"trial": number, **named, **_measured(trial, list(metrics))})
    columns = [*dict.fromkeys(key for row in rows for key in row)]
    # Column by column: a tuple is a value here.
    table = pd.DataFrame({key: pd.Series([row[key] for row in rows]) for key in columns})
    return table.sort_values(metric, ascending=not higher, kind="stable", ignore_index=True)


def _measured(trial: Trial, metrics: list[str]) -> dict[str, Any]:
    result = trial.result
    values = {} if result is None else {**result.metrics, "loss": result.loss}
    return {
        **{name: values.get(name, float("nan")) for name in metrics},
        "best_epoch": 0 if result is None else result.best_epoch,
        "epochs": 0 if result is None else result.epochs,
        "error": "" if trial.failure is None else trial.failure.error,
    }
