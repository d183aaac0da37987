import inspect
from collections.abc import Sequence
from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import ncalab.tasks
from ncalab.core import AbstractNCAModel
from ncalab.core.task import GROUP, DataRequest, TaskSpec, ValueFormat, find_task
from ncalab.tasks import (
    ClassificationDataset,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCADataset,
    SegmentationNCAModel,
)

CPU = torch.device("cpu")
MODELS: dict[str, type[AbstractNCAModel]] = {
    "classification": ClassificationNCAModel,
    "depth": DepthNCAModel,
    "growing": GrowingNCAModel,
    "segmentation": SegmentationNCAModel,
}


def spec_named(task: str) -> TaskSpec:
    spec = find_task(task)
    assert spec is not None
    return spec


def test_every_model_of_this_part_belongs_to_a_registered_task() -> None:
    public = [getattr(ncalab.tasks, name) for name in ncalab.tasks.__all__]
    models = {
        each.task: each
        for each in public
        if inspect.isclass(each)
        and issubclass(each, AbstractNCAModel)
        and isinstance(getattr(each, "task", None), str)
    }

    installed = {point.name: point.load() for point in entry_points(group=GROUP)}

    assert models == MODELS
    assert {name: spec.model for name, spec in installed.items() if name in MODELS} == MODELS


@pytest.mark.parametrize("task", MODELS)
def test_every_task_has_a_settings_file_that_names_its_model_and_data(task: str) -> None:
    spec = spec_named(task)

    text = files(f"ncalab.tasks.{task}").joinpath("template.toml").read_text(encoding="utf-8")

    assert f'class = "{spec.model.__name__}"' in text
    assert all(f'class = "{source.name}"' in text for source in spec.data)


class Written:
    """Notes what a writer asks for; images have twice the size of what the model saw."""

    def __init__(self) -> None:
        self.masks: dict[str, tuple[np.ndarray, int]] = {}
        self.values: dict[str, np.ndarray] = {}
        self.colors: dict[str, np.ndarray] = {}
        self.images: dict[str, np.ndarray] = {}
        self.rows: list[Sequence[str]] = []

    def restored(self, plane: np.ndarray, *, nearest: bool | None = None) -> np.ndarray:
        return plane.repeat(2, axis=0).repeat(2, axis=1)

    def save_mask(self, ending: str, mask: np.ndarray, classes: int) -> None:
        self.masks[ending] = mask, classes

    def save_values(self, ending: str, values: np.ndarray) -> None:
        self.values[ending] = values

    def save_colors(self, ending: str, values: np.ndarray) -> None:
        self.colors[ending] = values

    def save_image(self, ending: str, image: np.ndarray) -> Path:
        self.images[ending] = image
        return Path(f"seed{ending}")

    def add_row(self, cells: Sequence[str]) -> None:
        self.rows.append(cells)


def write(model: AbstractNCAModel, state: torch.Tensor, **values: Any) -> tuple[str, Written]:
    """Write what a model reads out of a state, without a step."""
    writer = spec_named(model.task).writer
    assert writer is not None
    files, made = Written(), writer(model, ValueFormat(**values))
    text = made.write(model.predict(state, steps=1, seed=0), files)
    # An untrained rule changes no cell, so that the state is what is predicted.
    assert set(made.endings) == {*files.masks, *files.values, *files.colors, *files.images}
    return text, files


def test_a_mask_has_the_size_of_the_image_and_the_share_of_the_foreground_is_said() -> None:
    model = SegmentationNCAModel(CPU, num_image_channels=1, num_hidden_channels=2)
    state = torch.zeros(1, model.num_channels, 2, 2)
    state[0, -1] = torch.tensor([[1.0, -1.0], [-1.0, -1.0]])

    text, files = write(model, state)

    mask, classes = files.masks["_mask.png"]
    assert text == "foreground 25.0%" and classes == 2
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_the_share_of_each_of_several_classes_is_said() -> None:
    model = SegmentationNCAModel(CPU, num_image_channels=1, num_hidden_channels=2, num_classes=3)
    state = torch.zeros(1, model.num_channels, 1, 2)
    state[0, -1, 0, 0] = 1.0

    text, files = write(model, state)

    assert text == "class 0 50.0%, class 1 0.0%, class 2 50.0%"
    assert files.masks["_mask.png"][1] == 3


@pytest.mark.parametrize(("counts", "ending"), [(False, "_depth.npy"), (True, "_depth.png")])
def test_depths_are_written_in_their_unit(counts: bool, ending: str) -> None:
    model = DepthNCAModel(CPU, num_image_channels=1, num_hidden_channels=2, depth_scale=4.0)
    state = torch.zeros(1, model.num_channels, 1, 3)
    state[0, -1] = torch.tensor([0.25, 0.5, 1.0])

    text, files = write(model, state, counts=counts)

    assert text == "depth 1 to 4, median 2"
    assert files.values[ending].tolist() == [[1, 1, 2, 2, 4, 4]] * 2
    np.testing.assert_array_equal(files.colors["_depth_color.png"], files.values[ending])


def test_classes_are_rows_of_a_table() -> None:
    names = ["cat", "dog"]
    model = ClassificationNCAModel(
        CPU, 1, 2, 2, pixel_wise_loss=True, class_names=names, inference_timesteps=1
    )
    state = torch.ones(1, model.num_channels, 2, 2)
    state[0, -2:] = torch.tensor([0.0, np.log(3.0)])[:, None, None]
    writer = spec_named("classification").writer
    assert writer is not None and writer.table == "classes.csv"

    text, files = write(model, state)

    assert writer(model, ValueFormat()).columns == ("class", "name", "p_cat", "p_dog")
    assert files.rows == [["1", "dog", "0.250000", "0.750000"]]
    assert text == "dog 75.0%  cat 25.0%"


def test_a_grown_image_is_kept_in_its_range() -> None:
    model = GrowingNCAModel(CPU, num_hidden_channels=2)
    state = torch.zeros(1, model.num_channels, 2, 2)
    state[0, :4, 0, 0] = torch.tensor([1.5, -0.5, 0.25, 1.0])

    text, files = write(model, state)

    assert text == "1 steps, 25.0% of the cells alive, seed_grown.png"
    assert files.images["_grown.png"][0, 0].tolist() == [1.0, 0.0, 0.25, 1.0]


def folder_of_pairs(path: Path, *names: str) -> Path:
    for folder in ("images", "masks"):
        (path / folder).mkdir()
        for number, name in enumerate(names):
            pixels = np.full((2 + number, 4), 255, np.uint8)
            Image.fromarray(pixels).save(path / folder / f"{name}.png")
    return path


def test_a_subset_of_pairs_has_a_transform_of_its_own(tmp_path: Path) -> None:
    whole = SegmentationNCADataset(folder_of_pairs(tmp_path, "a", "b", "c"), progress=False)

    part = whole.subset([2, 0], transform=lambda **arrays: arrays)

    assert [image.stem for image, _ in part.pairs] == ["c", "a"]
    assert part.transform is not None and whole.transform is None
    assert len(whole) == 3 and part[0][0].shape == (1, 4, 4)


def test_pairs_are_found_by_names_with_or_without_suffix(tmp_path: Path) -> None:
    whole = SegmentationNCADataset(folder_of_pairs(tmp_path, "a", "b"), progress=False)

    assert whole.places_of(["b", "images/a.png", "owl"]) == [1, 0, None]


def test_images_of_a_batch_must_have_one_size(tmp_path: Path) -> None:
    model = SegmentationNCAModel(CPU, num_image_channels=1, num_hidden_channels=2)
    (source,) = spec_named("segmentation").data
    assert source.check is not None

    def request(batch_size: int, **settings: Any) -> DataRequest:
        return DataRequest({"path": str(folder), **settings}, model, batch_size, None, print)

    folder = folder_of_pairs(tmp_path, "a", "b")
    part = SegmentationNCADataset(folder, progress=False)

    with pytest.raises(ValueError, match=r"data\.resize must be given .* \(2, 4\) and .* \(3, 4\)"):
        source.check(part, request(2))
    source.check(part, request(1))
    source.check(part, request(2, resize=(2, 2)))


def test_classes_must_be_those_of_the_model() -> None:
    model = ClassificationNCAModel(CPU, 1, 2, 2)
    check = spec_named("classification").data[0].check
    assert check is not None
    part = ClassificationDataset(np.zeros((3, 2, 2), np.uint8), np.arange(3))

    with pytest.raises(ValueError, match=r"model\.num_classes must be at least 3 .* got 2"):
        check(part, DataRequest({}, model, 1, None, print))
