"""The metric that decides which weights are the best."""

import warnings
from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from torch import nn

from ncalab.core import AbstractNCAModel

if TYPE_CHECKING:
    from torchmetrics import Metric


def single_metrics(nca: AbstractNCAModel) -> "dict[str, Metric]":
    """Return the metrics of a model by the names of their values.

    Those of a ``MetricCollection`` are called ``<name of the collection>_<name within it>``.
    """
    found: dict[str, Any] = {}
    for name, metric in nca.named_metrics().items():
        if isinstance(metric, nn.ModuleDict):
            found |= {f"{name}_{key}": single for key, single in metric.items()}
        else:
            found[name] = metric
    return found


def higher_is_better(nca: AbstractNCAModel) -> bool:
    """Return the direction of the metric that decides, once :func:`check_metric` has passed."""
    return bool(single_metrics(nca)[str(nca.validation_metric)].higher_is_better)


def check_metric(nca: AbstractNCAModel) -> None:
    """Raise unless the validation metric is one of the model's, with one value and a direction.

    Raises:
        TypeError: If something among the model's metrics is not a metric.
        ValueError: If it is not among them, has several values, or does not know its direction.
    """
    name, metrics = str(nca.validation_metric), single_metrics(nca)
    for key, metric in metrics.items():
        if not all(hasattr(metric, method) for method in ("update", "compute", "reset")):
            kind = type(metric).__name__
            raise TypeError(f"metrics[{key!r}] must be a torchmetrics Metric, got {kind}")
    if name not in metrics:
        known = ", ".join(metrics) or "none"
        raise ValueError(
            f"validation_metric must be a metric of the model ({known}), "
            f"got {nca.validation_metric!r}"
        )
    if not isinstance(getattr(metrics[name], "higher_is_better", None), bool):
        raise ValueError(f"validation_metric must know whether higher is better, got {name!r}")
    if values := _number_of_values(metrics[name]):
        raise ValueError(
            f"validation_metric must be a metric of one value, got {name!r} with "
            f"{', '.join(f'{name}_{place}' for place in range(values))}"
        )


def deciding_value(
    nca: AbstractNCAModel, losses: Mapping[str, float], metrics: Mapping[str, float] | None
) -> float:
    """Return the value that the best epoch is chosen by.

    Args:
        nca: Model that is trained.
        losses: Mean loss terms of the epoch.
        metrics: Validation metrics, whose ``validation_metric`` decides; None without validation
            data: then the total loss decides.

    Raises:
        ValueError: If the metric has several values, which only a validation shows.
    """
    if metrics is None:
        return losses["total"]
    name = str(nca.validation_metric)
    if name not in metrics:
        raise ValueError(
            f"validation_metric must be a metric of one value, got {name!r} with "
            f"{', '.join(key for key in metrics if key.startswith(name))}"
        )
    return metrics[name]


def _number_of_values(metric: "Metric") -> int:
    """Return how many values a metric has, 0 if it is one or not known before."""
    with warnings.catch_warnings():
        # Metrics warn that they have seen nothing yet.
        warnings.simplefilter("ignore")
        try:
            value = deepcopy(metric).compute()
        except Exception:  # some need to have seen data; the first validation finds out
            return 0
    return len(value) if getattr(value, "ndim", 0) else 0
