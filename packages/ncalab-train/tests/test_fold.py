from pathlib import Path
from typing import Any

import pytest
import torch
from image_files import ImageFiles, file_images, invert
from torch import Tensor

from ncalab.train import TrainValRecord


@pytest.fixture
def names(tmp_path: Path) -> list[str]:
    return file_images(tmp_path)


def images(loader: Any) -> list[Tensor]:
    return [image for images, _ in loader for image in images]


def test_no_validation_file_is_dropped_however_few_there_are(
    tmp_path: Path, names: list[str]
) -> None:
    train, val = TrainValRecord(names[:6], names[6:]).dataloaders(ImageFiles, tmp_path)

    assert len(images(train)) == 6 and len(train) == 1
    assert len(images(val)) == 3 and len(val) == 1


def test_validation_files_come_in_their_order_and_training_files_do_not(
    tmp_path: Path, names: list[str]
) -> None:
    train, val = TrainValRecord(names[1:], names[:1]).dataloaders(ImageFiles, tmp_path)
    val_of_all = TrainValRecord(names[:1], names[1:]).dataloaders(ImageFiles, tmp_path)[1]
    dataset = ImageFiles(tmp_path, names[1:])

    torch.manual_seed(0)
    orders = [torch.stack(images(train)) for _ in range(2)]

    assert not torch.equal(*orders)
    assert all(torch.equal(a, dataset[i][0]) for i, a in enumerate(images(val_of_all)))
    assert torch.equal(images(val)[0], ImageFiles(tmp_path, names)[0][0])


def test_one_transform_is_for_training_only(tmp_path: Path, names: list[str]) -> None:
    train, val = TrainValRecord(names[:1], names[1:2]).dataloaders(ImageFiles, tmp_path, invert)

    for image, label in train:
        assert torch.equal(image, 1 - label)
    for image, label in val:
        assert torch.equal(image, label)


@pytest.mark.parametrize("transform", [{"val": invert}, (None, invert)])
def test_validation_has_the_transform_that_is_given_for_it(
    tmp_path: Path, names: list[str], transform: Any
) -> None:
    train, val = TrainValRecord(names[:1], names[1:2]).dataloaders(ImageFiles, tmp_path, transform)

    for image, label in train:
        assert torch.equal(image, label)
    for image, label in val:
        assert torch.equal(image, 1 - label)


class Composition:
    """Callable and a sequence at once, as compositions of transforms are."""

    def __call__(self, image: Tensor) -> Tensor:
        return 1 - image

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        return invert


def test_a_composition_of_two_transforms_is_no_pair(tmp_path: Path, names: list[str]) -> None:
    record = TrainValRecord(names[:1], names[1:2])

    _, val = record.dataloaders(ImageFiles, tmp_path, Composition())

    for image, label in val:
        assert torch.equal(image, label)


def test_batch_sizes_are_those_given_and_eight_otherwise(tmp_path: Path, names: list[str]) -> None:
    record = TrainValRecord(names[:4], names[4:])

    train, val = record.dataloaders(ImageFiles, tmp_path, batch_sizes={"train": 3})

    assert (train.batch_size, val.batch_size) == (3, 8)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"batch_sizes": {"test": 1}}, ValueError, 'no keys but "train" and "val", got \'test\''),
        (
            {"batch_sizes": {"val": 0}},
            ValueError,
            r'batch_sizes\["val"\] must be at least 1, got 0',
        ),
        ({"batch_sizes": 4}, TypeError, "batch_sizes must be a mapping .*, got 4"),
        ({"transform": {"valid": invert}}, ValueError, "transform must have no keys but"),
        ({"transform": {"val": 3}}, TypeError, "transform of val must be callable, got 3"),
        ({"transform": "flip"}, TypeError, "transform must be callable, .* got 'flip'"),
    ],
)
def test_bad_arguments_are_named(
    tmp_path: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TrainValRecord(["a"], ["b"]).dataloaders(ImageFiles, tmp_path, **arguments)


@pytest.mark.parametrize(
    ("train", "val", "error", "message"),
    [
        ([], ["b"], ValueError, "train must hold at least one file, got none"),
        (["a"], [], ValueError, "val must hold at least one file, got none"),
        (["a", "b"], ["b"], ValueError, "must have no file in common, got 'b'"),
        (["a", "a"], ["b"], ValueError, "train must list each file once, got 'a'"),
        ("abc", ["b"], TypeError, "train must be a list of file names, got 'abc'"),
        (["a"], [1], TypeError, "val must hold file names only, got 1"),
        (["a"], [""], TypeError, "val must hold file names only, got ''"),
    ],
)
def test_a_fold_that_cannot_be_is_refused(
    train: Any, val: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        TrainValRecord(train, val)
