"""A command line to call, and small models and pictures to call it on."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_models import Run, Save, shaken
from click.testing import CliRunner, Result
from PIL import Image

from ncalab.cli.app import program
from ncalab.core import AbstractNCAModel
from ncalab.tasks import (
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)
from ncalab.tasks.growing import measure_growth

CPU = torch.device("cpu")


@pytest.fixture
def run() -> Run:
    """Call ``ncalab`` with arguments of any type."""

    def call(*arguments: object) -> Result:
        return CliRunner().invoke(program, [str(argument) for argument in arguments])

    return call


@pytest.fixture(autouse=True)
def short_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have ``ncalab grow`` watch 70 steps in place of 1,000."""
    monkeypatch.setattr("ncalab.cli.jobs.grow.measure_growth", partial(measure_growth, length=70))


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def save(workplace: Path) -> Save:
    """Save a model, and return the folder."""

    def write(model: AbstractNCAModel) -> Path:
        folder = workplace / f"{model.task}_weights"
        model.save_pretrained(folder)
        return folder

    return write


@pytest.fixture
def growing() -> GrowingNCAModel:
    return shaken(GrowingNCAModel(CPU, num_hidden_channels=3, hidden_size=8, inference_timesteps=5))


@pytest.fixture
def segmentation() -> SegmentationNCAModel:
    return shaken(
        SegmentationNCAModel(
            CPU,
            num_hidden_channels=3,
            hidden_size=8,
            filter_padding="replicate",
            inference_timesteps=4,
        )
    )


@pytest.fixture
def classification() -> ClassificationNCAModel:
    return shaken(
        ClassificationNCAModel(
            CPU,
            1,
            4,
            3,
            hidden_size=8,
            class_names=["cat", "dog", "owl"],
            avg_pool_size=2,
            inference_timesteps=3,
        )
    )


@pytest.fixture
def depth() -> DepthNCAModel:
    return shaken(DepthNCAModel(CPU, num_hidden_channels=3, hidden_size=8, inference_timesteps=3))


@pytest.fixture
def picture(workplace: Path) -> Path:
    """A red disc on nothing, 12 rows and 10 columns."""
    rows, columns = np.mgrid[:12, :10]
    inside = np.hypot(rows - 5.5, columns - 4.5) < 4
    pixels = np.zeros((12, 10, 4), np.uint8)
    pixels[inside] = (220, 40, 30, 255)
    Image.fromarray(pixels).save(workplace / "disc.png")
    return workplace / "disc.png"
