"""A model for some data, chosen by what they are like."""

import json
import logging
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset, TensorDataset

from ncalab.core import AbstractNCAModel
from ncalab.tasks import (
    CascadeNCA,
    ClassificationDataset,
    ClassificationNCAModel,
    DepthNCAModel,
    SegmentationNCAModel,
    recommended_model,
)
from ncalab.tasks.data_summary import DataSummary
from ncalab.tasks.recommend import overridden, recommend, summarize_data

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
    assert seen.counted == 64
    reasons = recommend("classification", seen).reasons
    assert any("num_classes = 2: counted in 64 of 1,000 samples" in each for each in reasons)


def test_the_last_sample_is_one_of_those_that_are_read() -> None:
    data = Sorted(1000)

    summarize_data("classification", data)

    assert {0, 999} <= set(data.read)


def test_given_classes_are_not_said_to_be_counted(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ncalab.tasks.recommend"):
        model = recommended_model("classification", Sorted(1000), num_classes=7)

    assert isinstance(model, CascadeNCA) and model.to_dict()["wrapped"]["num_classes"] == 7
    assert "counted" not in caplog.text


LATE = torch.zeros(200).long()
LATE[-1], LATE[77] = 2, 1
IMAGES = torch.rand(200, 1, 5, 5)


@pytest.mark.parametrize(
    "data",
    [
        (IMAGES, LATE),
        (IMAGES, LATE.double()),
        TensorDataset(IMAGES, LATE),
        Subset(TensorDataset(IMAGES, LATE), range(50, 200)),
        ClassificationDataset(IMAGES[:, 0].numpy(), LATE.numpy()),
        ClassificationDataset(IMAGES[:, 0].numpy(), LATE.numpy().astype(">u2")),
    ],
    ids=["tensors", "floats", "data set", "subset", "strata", "other bytes"],
)
def test_all_labels_in_memory_are_counted(data: Any) -> None:
    seen = summarize_data("classification", data)

    assert seen.counted is None
    assert seen.shares == pytest.approx(
        ((seen.samples - 2) / seen.samples, 1 / seen.samples, 1 / seen.samples)
    )


def test_each_of_many_classes_is_counted() -> None:
    labels = torch.arange(1000) // 5

    model = recommended_model("classification", (torch.rand(1000, 1, 4, 4), labels))

    assert isinstance(model, ClassificationNCAModel) and model.num_classes == 200


def test_a_class_of_the_last_mask_alone_is_counted() -> None:
    images, labels = torch.rand(100, 1, 9, 9), torch.zeros(100, 9, 9)
    labels[98, 0, 0], labels[98, 1, 1] = 1, 2

    model = recommended_model("segmentation", (images, labels))

    assert isinstance(model, SegmentationNCAModel) and model.num_classes == 3


class Grouped(Sorted):
    """A data set whose strata are not its labels."""

    strata = np.arange(1000) % 7


def test_strata_that_are_no_labels_are_not_counted() -> None:
    seen = summarize_data("classification", Grouped(1000))

    assert seen.shares == pytest.approx((0.5, 0.5)) and seen.counted == 64


@pytest.mark.parametrize(
    ("task", "labels", "message"),
    [
        (
            "segmentation",
            torch.tensor([0, 255]),
            "masks must hold class numbers 0 and 1, got 0 and",
        ),
        ("segmentation", torch.tensor([0, 0.5]), "masks must hold class numbers, which are whole"),
        ("classification", torch.tensor([0, 10**9]), "labels must hold class numbers from 0 on"),
    ],
)
def test_labels_that_cannot_be_classes_are_refused(task: str, labels: Tensor, message: str) -> None:
    if task == "segmentation":
        labels = labels[torch.arange(2 * 25).reshape(2, 5, 5) % 2]

    with pytest.raises(ValueError, match=message):
        recommended_model(task, (torch.rand(2, 1, 5, 5), labels))


def test_an_ignored_label_is_no_class() -> None:
    images, labels = masks(9, 9, classes=3)
    labels[0, 0, 0] = 255

    model = recommended_model("segmentation", (images, labels), ignore_index=255)

    assert isinstance(model, SegmentationNCAModel) and model.num_classes == 3


def test_labels_to_ignore_are_no_class() -> None:
    images, labels = masks(4, 4)
    labels[0] = -1

    assert summarize_data("segmentation", (images, labels)).shares == pytest.approx((0.5, 0.5))


def test_depths_are_no_classes() -> None:
    seen = summarize_data("depth", (torch.rand(2, 3, 8, 8), torch.rand(2, 8, 8)))

    assert seen.shares == () and seen.num_classes is None


@pytest.mark.parametrize(("largest", "scale"), [(4987.0, 5000.0), (0.034, 0.034)])
def test_the_scale_of_depth_follows_from_the_labels(
    largest: float, scale: float, caplog: pytest.LogCaptureFixture
) -> None:
    depths = torch.full((2, 8, 8), largest / 2)
    depths[1, :3, 0] = torch.tensor([torch.nan, torch.inf, largest])
    data = (torch.rand(2, 3, 8, 8), depths)

    with caplog.at_level(logging.INFO, "ncalab.tasks.recommend"):
        model = recommended_model("depth", data)

    assert isinstance(model, DepthNCAModel) and model.depth_scale == scale
    assert f"depth_scale = {scale:g}: the largest depth of all samples" in caplog.text
    given = recommended_model("depth", data, depth_scale=2.0)
    assert isinstance(given, DepthNCAModel) and given.depth_scale == 2.0


@pytest.mark.parametrize("depth", [torch.nan, 0.0, -1.0])
def test_depth_maps_without_a_known_depth_are_warned_of(
    depth: float, caplog: pytest.LogCaptureFixture
) -> None:
    recommended_model("depth", (torch.rand(2, 3, 8, 8), torch.full((2, 8, 8), depth)))

    assert "there is nothing to learn: no depth that was read is known" in caplog.text


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
    model = recommended_model("segmentation", masks(16, 17), scales=[16, 8, 4, 2, 1])

    assert isinstance(model, CascadeNCA) and len(model.steps) == 5


@pytest.mark.parametrize(
    ("arguments", "scales", "steps"),
    [
        ({"training_timesteps": 9, "inference_timesteps": 9}, [4, 2, 1], [5, 2, 2]),
        ({"training_timesteps": (6, 12)}, [4, 2, 1], [6, 3, 2]),
        ({"inference_timesteps": 2}, [2, 1], [1, 1]),
        ({"training_timesteps": (4, 9), "scales": [3, 1]}, [3, 1], [5, 3]),
        ({"inference_timesteps": 9, "steps": [4, 4, 4]}, [4, 2, 1], [4, 4, 4]),
    ],
)
def test_numbers_of_steps_are_those_of_the_cascade(
    arguments: dict[str, Any], scales: list[int], steps: list[int]
) -> None:
    model = recommended_model("segmentation", masks(48, 50), **arguments)

    assert isinstance(model, CascadeNCA) and (model.scales, model.steps) == (scales, steps)
    for name in {"training_timesteps", "inference_timesteps"} & arguments.keys():
        assert getattr(model, name) == arguments[name]
    wanted = arguments.get("inference_timesteps", sum(steps))
    assert model.predict(torch.rand(1, 2, 48, 50), seed=0).steps == wanted


def test_a_single_step_is_taken_at_a_single_scale() -> None:
    model = recommended_model("segmentation", masks(48, 50), inference_timesteps=1)

    assert isinstance(model, SegmentationNCAModel)
    assert (model.training_timesteps, model.inference_timesteps) == ((1, 2), 1)


def test_one_step_at_one_scale_can_be_trained() -> None:
    model = recommended_model("segmentation", masks(9, 9), scales=(1,), steps=(1,))

    assert model.training_timesteps == (1, 2)


def test_reasons_say_what_was_asked_for() -> None:
    chosen = recommend("segmentation", summary(48, 50, 0.5, 0.5))

    fewer = overridden(chosen, inference_timesteps=9)
    other = overridden(chosen, scales=[2, 1])
    all_given = overridden(chosen, scales=[2, 1], steps=[3, 3])

    assert fewer.reasons[0] == (
        "cells of 4, 2, 1 pixels in turn, 5, 2, 2 steps: 9 steps in all were asked for"
    )
    assert other.reasons[0].startswith("cells of 2, 1 pixels in turn, 12, 6 steps: these scales")
    assert all_given.reasons == chosen.reasons[1:]


@pytest.mark.parametrize(("size", "patch"), [((90, 180), None), ((512, 256), 96)])
def test_large_images_are_trained_on_in_patches(size: tuple[int, int], patch: int | None) -> None:
    chosen = recommend("segmentation", summary(*size, 0.5, 0.5))

    assert chosen.patch_size == patch
    assert not any("patches" in reason for reason in chosen.reasons)


def test_a_volume_is_not_cut_into_patches_of_two_axes() -> None:
    seen = DataSummary((256, 256, 256), 1, (0.5, 0.5), 10)

    assert recommend("segmentation", seen).patch_size is None


def test_patches_are_said_to_help_where_they_are_not_made(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "ncalab.tasks.recommend"):
        recommended_model("segmentation", masks(200, 190, count=1))

    assert "RandomPatches may help to train: patches of 96 x 96 pixels" in caplog.text


def test_a_rare_class_and_rare_images_are_spoken_of() -> None:
    rare = recommend("segmentation", summary(64, 64, 0.98, 0.02))
    uneven = recommend("classification", summary(28, 28, 0.95, 0.05))

    assert any("2.0%" in reason for reason in rare.reasons)
    assert "class_weights = [0.37, 1.6]: the rarest class has 5.0% of the images" in uneven.reasons


UNEVEN = (torch.rand(200, 1, 5, 5), LATE)


def test_uneven_classes_get_weights_that_go_with_the_model() -> None:
    model = recommended_model("classification", UNEVEN)

    assert isinstance(model, ClassificationNCAModel)
    weights = model.class_weights
    assert weights is not None and sum(weights) == pytest.approx(3, abs=1e-3)
    assert weights[1] / weights[0] == pytest.approx(198**0.5, rel=1e-2)
    config = json.loads(json.dumps(model.to_dict()))
    read = AbstractNCAModel.from_dict(config, device=CPU)
    assert isinstance(read, ClassificationNCAModel) and read.class_weights == weights


def test_weights_can_be_replaced_and_classes_added() -> None:
    plain = recommended_model("classification", UNEVEN, class_weights=None)
    more = recommended_model("classification", UNEVEN, num_classes=5)

    assert isinstance(plain, ClassificationNCAModel) and plain.class_weights is None
    assert isinstance(more, ClassificationNCAModel) and more.class_weights is not None
    assert len(more.class_weights) == 5 and more.class_weights[3] == more.class_weights[2]


@pytest.mark.parametrize("shares", [(0.5, 0.5), (0.8, 0.2)])
def test_even_classes_get_no_weights(shares: tuple[float, float]) -> None:
    assert "class_weights" not in recommend("classification", summary(28, 28, *shares)).model


def test_a_few_samples_do_not_weigh_classes() -> None:
    seen = DataSummary((28, 28), 1, (0.95, 0.05), 1000, counted=64)

    chosen = recommend("classification", seen)

    assert "class_weights" not in chosen.model
    assert any(reason.startswith("class_weights may help") for reason in chosen.reasons)


def test_labels_of_one_class_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    recommended_model("segmentation", masks(9, 9, classes=1))

    assert "there is nothing to learn: all masks that were read are of one class" in caplog.text


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
        ({"scales": []}, "scales must hold at least one size of cells, got none"),
        ({"scales": (2, 0)}, r"scales\[1\] must be at least 1, got 0"),
        ({"scales": (1, 2)}, r"scales must fall from coarse to fine, .* got \[1, 2\]"),
        ({"scales": (2, 2)}, "scales must fall from coarse to fine"),
        ({"scales": (9, 1)}, "scales must be at most the shorter side of the images, 8, got"),
        ({"steps": ()}, "steps must hold at least one number"),
        ({"scales": (2, 1), "training_timesteps": 1}, "training_timesteps must be at least 2, one"),
        ({"data": (torch.rand(3, 8, 8), torch.zeros(3, 8, 8))}, r"\(N, C, W, H\), got \(3, 8, 8\)"),
        ({"data": [(torch.rand(8, 8), 0)]}, r"data must hold images of shape \(C, W, H\), none"),
        ({"data": (torch.rand(3, 1, 8, 8), torch.zeros(2, 8, 8))}, "label for each of 3 images"),
        ({"data": (torch.rand(3, 1, 8, 8), torch.zeros(4, 8, 8))}, "label for each of 3 images"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"hidden_size": 0}, "hidden_size must be at least 1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        recommended_model(**{"task": "segmentation", "data": masks(8, 8), **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scales": 4}, "scales must be a list of sizes of cells, got 4"),
        (
            {"data": (np.zeros((2, 1, 8, 8)), np.array(["cat", "dog"]))},
            r"labels that are numbers, got dtype <U3; np.unique\(labels",
        ),
        ({"scales": "auto"}, "scales must be a list of sizes of cells, got 'auto'"),
        ({"steps": 5}, "steps must be a list of integers, got 5"),
        ({"data": None}, "data must be a data set of pairs .* got NoneType"),
        ({"data": DataLoader(Sorted(4))}, "data must be a data set of pairs .* got DataLoader"),
        ({"data": (torch.rand(3, 1, 8, 8),)}, r"data must be a tensor of images .* got \(Tensor\)"),
        ({"data": list(torch.rand(3, 1, 8, 8))}, r"data must hold pairs \(image, label\), got a"),
    ],
)
def test_arguments_of_other_types_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        recommended_model(**{"task": "segmentation", "data": masks(8, 8), **arguments})


@pytest.mark.parametrize("dims", [1, 3])
def test_grids_of_one_and_three_axes_get_a_model(dims: int) -> None:
    images = torch.rand(2, 1, *[12] * dims)

    model = recommended_model("segmentation", (images, images[:, 0] > 0.5), spatial_dims=dims)

    assert model.predict(images, seed=0).logits.shape == images.shape
