from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import (
    mean_absolute_error,
    mean_absolute_percentage_error,
    root_mean_squared_error,
)
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.image import structural_similarity_index_measure

from ncalab.tasks.depth.metrics import (
    AbsoluteRelativeError,
    StructuralSimilarity,
    ThresholdAccuracy,
    depth_metrics,
)

UNKNOWN = [float("nan"), 0.0, -1.0, float("inf"), float("-inf")]


def maps(batch: int = 5, width: int = 14, height: int = 23) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    target = 5 * torch.rand(batch, 1, width, height, generator=generator) + 0.5
    preds = target + torch.randn(batch, 1, width, height, generator=generator)
    return preds, target


def with_holes(target: Tensor) -> Tensor:
    """Make a fifth of the cells unknown, in every way in which a cell can be."""
    target = target.clone()
    flat = target.view(-1)
    for number, value in enumerate(UNKNOWN):
        flat[number::25] = value
    return target


def measured(metric: Metric, preds: Tensor, target: Tensor, size: int = 2) -> float:
    """Stream a data set through a metric in batches of a size."""
    for first in range(0, len(preds), size):
        metric.update(preds[first : first + size], target[first : first + size])
    return float(metric.compute())


@pytest.mark.parametrize("holes", [False, True])
def test_errors_equal_those_of_sklearn(holes: bool) -> None:
    preds, target = maps()
    target = with_holes(target) if holes else target
    known = (target.isfinite() & (target > 0)).numpy()
    y, p = target.numpy()[known].astype(np.float64), preds.numpy()[known].astype(np.float64)

    values = {name: measured(metric, preds, target) for name, metric in depth_metrics().items()}

    assert known.mean() == pytest.approx(0.8 if holes else 1.0, abs=0.005)
    assert values["mae"] == pytest.approx(mean_absolute_error(y, p), abs=1e-6)
    assert values["rmse"] == pytest.approx(root_mean_squared_error(y, p), abs=1e-6)
    assert values["abs_rel"] == pytest.approx(mean_absolute_percentage_error(y, p), abs=1e-6)
    near = (np.maximum(p / y, y / p) < 1.25) & (p > 0)
    assert values["delta1"] == pytest.approx(near.mean(), abs=1e-6)


@pytest.mark.parametrize("data_range", [1.0, 4.5])
def test_ssim_without_holes_is_that_of_torchmetrics(data_range: float) -> None:
    preds, target = maps()

    value = measured(StructuralSimilarity(data_range), preds, target)

    exact: Any = structural_similarity_index_measure(
        preds.double(), target.double(), data_range=data_range
    )
    assert value == pytest.approx(float(exact), abs=1e-6)


def test_the_range_of_ssim_is_the_largest_depth_of_each_label_unless_given() -> None:
    preds, target = maps(batch=3)
    target[1] *= 20

    each = [
        measured(StructuralSimilarity(float(label.max())), pred[None], label[None])
        for pred, label in zip(preds, target, strict=True)
    ]

    assert measured(StructuralSimilarity(), preds, target) == pytest.approx(np.mean(each))


def test_ssim_of_a_map_far_away_loses_no_digits() -> None:
    preds, target = maps(batch=1)
    far, far_target = preds / 100 + 1000, target / 100 + 1000  # float32 keeps 1e-4 of it

    value = measured(StructuralSimilarity(0.1), far, far_target)

    exact: Any = structural_similarity_index_measure(
        far.double(), far_target.double(), data_range=0.1
    )
    assert value == pytest.approx(float(exact), abs=1e-6)


@pytest.mark.parametrize("name", list(depth_metrics()))
def test_a_metric_does_not_depend_on_the_batches(name: str) -> None:
    preds, target = maps()
    target = with_holes(target)

    one, all_at_once = (measured(depth_metrics()[name], preds, target, size) for size in (1, 5))

    assert one == pytest.approx(all_at_once, rel=1e-12)


@pytest.mark.parametrize("name", list(depth_metrics()))
def test_unknown_cells_do_not_count_whatever_is_predicted_there(name: str) -> None:
    preds, target = maps()
    target = with_holes(target)
    wild = torch.where(target.isfinite() & (target > 0), preds, float("nan"))

    assert measured(depth_metrics()[name], wild, target) == measured(
        depth_metrics()[name], preds, target
    )


@pytest.mark.parametrize("name", list(depth_metrics()))
def test_an_image_without_depth_changes_nothing(name: str) -> None:
    preds, target = maps(batch=2)
    more = torch.cat([target, torch.zeros(1, *target.shape[1:])])

    value = measured(depth_metrics()[name], torch.cat([preds, preds[:1]]), more)

    assert value == measured(depth_metrics()[name], preds, target)


@pytest.mark.parametrize("name", list(depth_metrics()))
def test_with_nothing_known_a_metric_is_undefined(name: str) -> None:
    preds, _ = maps(batch=1)

    assert np.isnan(measured(depth_metrics()[name], preds, torch.zeros_like(preds)))


def test_every_metric_knows_its_direction() -> None:
    directions = {name: metric.higher_is_better for name, metric in depth_metrics().items()}

    assert directions == {
        "ssim": True,
        "mae": False,
        "rmse": False,
        "abs_rel": False,
        "delta1": True,
    }


@pytest.mark.parametrize("predicted", [0.0, -2.0, -1e-9])
def test_depth_behind_the_camera_is_never_within_the_threshold(predicted: float) -> None:
    metric = ThresholdAccuracy()

    assert measured(metric, torch.full((1, 1, 2, 2), predicted), torch.ones(1, 1, 2, 2)) == 0


def test_a_ratio_of_exactly_the_threshold_is_not_within_it() -> None:
    preds, target = torch.tensor([[[[2.5, 2.0]]]]), torch.tensor([[[[2.0, 2.5]]]])

    assert measured(ThresholdAccuracy(), preds, target) == 0


def test_sums_over_many_cells_are_exact() -> None:
    metric = AbsoluteRelativeError()
    target = torch.full((1, 1, 100, 100), 3.0)
    for _ in range(40):
        metric.update(target * 1.1, target)
    metric.update(target * 1e6, target)

    error = np.abs(np.float32(3.3) - 3.0) / 3
    assert float(metric.compute()) == pytest.approx((40 * error + 1e6 - 1) / 41, rel=1e-7)


def test_a_threshold_that_is_no_ratio_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold must be above 1, got 1"):
        ThresholdAccuracy(1)


@pytest.mark.parametrize("data_range", [0.0, -1.0, float("nan")])
def test_a_range_that_is_none_is_refused(data_range: float) -> None:
    with pytest.raises(
        ValueError, match=f"data_range must be above 0 and finite, got {data_range}"
    ):
        StructuralSimilarity(data_range)


def test_other_shapes_are_named() -> None:
    preds, target = maps(batch=2)

    with pytest.raises(ValueError, match=r"got \(2, 1, 14, 23\) and \(2, 14, 23\)"):
        AbsoluteRelativeError().update(preds, target[:, 0])
