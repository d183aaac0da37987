"""A damaged configuration of any task's model is named, with its file and key."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from damaged_files import damage_text, read_or_name, wrong_values

from ncalab.core import AbstractNCAModel
from ncalab.core.saving import CONFIG_NAME
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"num_hidden_channels": 4, "hidden_size": 8}


def depth() -> DepthNCAModel:
    model = DepthNCAModel(CPU, num_image_channels=1, **SMALL)
    model.vignette = np.ones((6, 5), dtype=bool)
    return model


MODELS: dict[str, Any] = {
    "segmentation": lambda: SegmentationNCAModel(CPU, num_image_channels=1, **SMALL),
    "classification": lambda: ClassificationNCAModel(
        CPU, 1, num_classes=3, class_names=["a", "b", "c"], **SMALL
    ),
    "depth": depth,
    "growing": lambda: GrowingNCAModel(CPU, **SMALL),
    "cascade": lambda: CascadeNCA(GrowingNCAModel(CPU, **SMALL), [2, 1], [2, 2]),
}


@pytest.fixture(params=MODELS)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return the folder of a saved model."""
    MODELS[request.param]().save_pretrained(tmp_path)
    return tmp_path


def test_every_wrong_value_of_a_configuration_is_named_with_its_key(folder: Path) -> None:
    path = folder / CONFIG_NAME
    whole = json.loads(path.read_text())

    for key, content in wrong_values(whole):
        path.write_bytes(content)
        try:
            AbstractNCAModel.from_pretrained(folder)
        except ValueError as error:
            if f"{folder / 'model.safetensors'} " not in str(error):
                assert str(error).startswith(f"{path}: "), error
                assert key.rpartition(".")[2] in str(error), (key, content, error)


def test_a_damaged_configuration_is_named(folder: Path) -> None:
    path = folder / CONFIG_NAME
    whole = path.read_bytes()

    for seed in range(80):
        path.write_bytes(damage_text(whole, seed))
        read_or_name(lambda: AbstractNCAModel.from_pretrained(folder), *folder.iterdir())
