"""A model for some data, chosen by what they are like."""

import logging
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    SegmentationNCAModel,
    recommended_model,
)
from ncalab.tasks.recommend import DataSummary, recommend, summarize_data

CPU = torch.device("cpu")


def masks(width: int, height: int, *, classes: int = 2, count: int = 3) -> tuple[Tensor, Tensor]:
    labels = torch.arange(count * width * height).reshape(count, width, height) % classes
    return torch.rand(count, 2, width, height), labels


def summary(width: int, height: int, *shares: float, samples: int = 100) -> DataSummary:
    return DataSummary((width, height), 3, shares, samples)


def test_a_summary_reports_size_channels_and_shares_of_classes() -> None:
    images, labels = masks(10, 6, classes=4)

    seen = summarize_data("segmentation", (images, labels))

    assert (seen.size, seen.channels, seen.samples) == ((10, 6), 2, 3)
    assert seen.shares == pytest.approx((0.25, 0.25, 0.25, 0.25))


class Sorted(Dataset[tuple[Tensor, int]]):
    """Images of several sizes, sorted by class; remembers which were read."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        self.read.append(index)
        return torch.zeros(1, 20 + index % 3, 30), int(index >= self.count // 2)


def test_samples_are_taken_from_all_over_a_data_set() -> None:
    data = Sorted(1000)

    seen = summarize_data("classification", data)

    assert len(data.read) == 64
    assert seen.size == (20, 30) and seen.samples == 1000
    assert seen.shares == pytest.approx((0.5, 0.5))


def test_labels_to_ignore_are_no_class() -> None:
    images, labels = masks(4, 4)
    labels[0] = -1

    assert summarize_data("segmentation", (images, labels)).shares == pytest.approx((0.5, 0.5))


def test_depths_are_no_classes() -> None:
    seen = summarize_data("depth", (torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8)))

    assert seen.shares == ()


@pytest.mark.parametrize(
    ("task", "size", "scales"),
    [
        ("segmentation", (16, 200), (1,)),
        ("segmentation", (64, 64), (4, 2, 1)),
        ("segmentation", (512, 256), (8, 4, 2, 1)),
        ("classification", (8, 8), (1,)),
        ("classification", (28, 28), (4, 2, 1)),
        ("depth", (120, 160), (8, 4, 2, 1)),
    ],
)
def test_the_coarsest_cells_follow_from_the_size(
    task: str, size: tuple[int, int], scales: tuple[int, ...]
) -> None:
    chosen = recommend(task, summary(*size, 0.5, 0.5))

    assert chosen.scales == scales and len(chosen.steps) == len(scales)
    assert str(scales[0]) in chosen.reasons[0] or scales == (1,)


@pytest.mark.parametrize(
    ("task", "shape", "labels", "kind"),
    [
        ("segmentation", (3, 1, 14, 12), (3, 14, 12), SegmentationNCAModel),
        ("classification", (3, 1, 5, 9), (3,), ClassificationNCAModel),
        ("depth", (3, 1, 14, 12), (3, 14, 12), DepthNCAModel),
    ],
)
def test_small_images_get_the_model_of_the_task(
    task: str, shape: tuple[int, ...], labels: tuple[int, ...], kind: type[Any]
) -> None:
    model = recommended_model(task, (torch.rand(shape), torch.ones(labels).long()))

    assert type(model) is kind
    assert model.predict(torch.rand(1, *shape[1:]), seed=0).output_image.shape[2:] == shape[2:]


def test_large_images_get_a_cascade_with_weights_for_each_scale() -> None:
    model = recommended_model("segmentation", masks(48, 50))

    assert isinstance(model, CascadeNCA) and model.scales == [4, 2, 1]
    assert len(model.copies) == 2


@pytest.mark.parametrize(("classes", "outputs"), [(2, 1), (3, 3)])
def test_two_classes_are_told_apart_by_one_logit(classes: int, outputs: int) -> None:
    model = recommended_model("segmentation", masks(9, 9, classes=classes))

    assert isinstance(model, SegmentationNCAModel) and model.num_classes == outputs


def test_every_part_can_be_overridden() -> None:
    model = recommended_model(
        "segmentation", masks(48, 50), scales=[2, 1], steps=[3, 5], hidden_size=7
    )

    assert isinstance(model, CascadeNCA)
    assert (model.scales, model.steps, model.hidden_size) == ([2, 1], [3, 5], 7)


def test_other_scales_get_steps_that_go_with_them() -> None:
    model = recommended_model("segmentation", masks(9, 9), scales=[16, 8, 4, 2, 1])

    assert isinstance(model, CascadeNCA) and len(model.steps) == 5


@pytest.mark.parametrize(("size", "patch"), [((90, 180), None), ((512, 256), 96)])
def test_large_images_are_trained_on_in_patches(size: tuple[int, int], patch: int | None) -> None:
    assert recommend("segmentation", summary(*size, 0.5, 0.5)).patch_size == patch


def test_a_rare_class_and_rare_images_are_spoken_of() -> None:
    rare = recommend("segmentation", summary(64, 64, 0.98, 0.02))
    uneven = recommend("classification", summary(28, 28, 0.95, 0.05))

    assert any("2.0%" in reason for reason in rare.reasons)
    assert any("class_weights" in reason for reason in uneven.reasons)


def test_what_was_chosen_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ncalab.tasks.recommend"):
        recommended_model("segmentation", masks(48, 50))

    assert "cells of 4, 2, 1 pixels" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "growing"}, "task must be one of classification, depth, segmentation"),
        ({"data": (torch.rand(0, 1, 4, 4), torch.rand(0, 4, 4))}, "data must hold at least one"),
        ({"scales": [2, 1], "steps": [3]}, r"steps must hold one number for each of the scales"),
        ({"scales": []}, r"steps must hold one number for each of the scales \[\]"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recommended_model(**{"task": "segmentation", "data": masks(8, 8), **arguments})
