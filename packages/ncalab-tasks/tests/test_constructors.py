"""Every argument of every constructor is refused at construction if it is of another type."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from wrong_types import assert_refused, public_classes, wrong_arguments

import ncalab.tasks
from ncalab.tasks import (
    CascadeNCA,
    ClassificationDataset,
    ClassificationNCAHead,
    ClassificationNCAModel,
    DepthDataset,
    DepthNCAModel,
    DiceBCELoss,
    DiceLoss,
    DiceScore,
    FocalLoss,
    GrowingNCADataset,
    GrowingNCAModel,
    IDXDataset,
    MedMNISTDataset,
    RandomAffine,
    RandomPatches,
    SegmentationNCADataset,
    SegmentationNCAModel,
    SegmentationPrediction,
)

CPU = torch.device("cpu")
FOLDER = Path(tempfile.mkdtemp())


def folder_of_images() -> Path:
    """Write one image, its mask and its depth, once."""
    for name in ("images", "masks", "depths"):
        (FOLDER / name).mkdir(exist_ok=True)
        Image.fromarray(np.full((3, 4), 255, np.uint8)).save(FOLDER / name / "a.png")
    return FOLDER


MODEL: Callable[[], dict[str, Any]] = lambda: {"device": CPU, "hidden_size": 4}  # noqa: E731 - one of several in the tables below
CLASSES: dict[type, Callable[[], dict[str, Any]]] = {
    CascadeNCA: lambda: {"wrapped": GrowingNCAModel(CPU), "scales": [2, 1], "steps": [3, 3]},
    ClassificationDataset: lambda: {
        "images": np.zeros((2, 3, 4), np.uint8),
        "labels": np.zeros(2, int),
    },
    ClassificationNCAHead: lambda: {
        "num_hidden_channels": 2,
        "num_classes": 2,
        "device": CPU,
        "avg_pool_size": 1,
    },
    ClassificationNCAModel: lambda: {
        **MODEL(),
        "num_image_channels": 1,
        "num_hidden_channels": 2,
        "num_classes": 2,
    },
    DepthDataset: lambda: {"path": folder_of_images()},
    DepthNCAModel: MODEL,
    DiceBCELoss: dict,
    DiceLoss: dict,
    DiceScore: dict,
    FocalLoss: dict,
    GrowingNCADataset: lambda: {"image": np.zeros((3, 3, 4), np.uint8), "num_channels": 8},
    GrowingNCAModel: MODEL,
    IDXDataset: lambda: {"path": FOLDER},
    MedMNISTDataset: lambda: {"path": FOLDER / "a.npz"},
    RandomAffine: lambda: {"data": [(torch.zeros(1, 4, 4), 0)]},
    RandomPatches: lambda: {
        "images": torch.zeros(1, 1, 4, 4),
        "labels": torch.zeros(1, 4, 4, dtype=torch.int64),
        "size": 2,
    },
    SegmentationNCADataset: lambda: {"path": folder_of_images()},
    SegmentationNCAModel: MODEL,
}


@pytest.mark.parametrize(("target", "valid", "name", "value"), wrong_arguments(CLASSES))
def test_an_argument_of_another_type_is_refused(
    target: type, valid: Any, name: str, value: Any
) -> None:
    assert_refused(target, valid(), name, value)


def test_no_class_is_left_out() -> None:
    # Predictions are made by models, at every step.
    assert public_classes(ncalab.tasks) - {SegmentationPrediction} == CLASSES.keys()
