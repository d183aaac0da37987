"""Random patches of images and masks."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ncalab.tasks import RandomPatches
from ncalab.tasks.segmentation.file_patches import FilePatches


def numbered(width: int = 20, height: int = 30, count: int = 2) -> tuple[Tensor, Tensor]:
    """Return images whose pixels have numbers, and a label 1 in one corner of the second."""
    images = torch.arange(count * width * height).reshape(count, 1, width, height).float()
    labels = torch.zeros(count, width, height, dtype=torch.int64)
    labels[-1, -1, -1] = 1
    return images, labels


@pytest.mark.parametrize("flip", [False, True])
def test_labels_are_those_of_the_pixels(flip: bool) -> None:
    images, _ = numbered()
    patches = RandomPatches(images, images[:, 0].long(), 8, rare=0.0, flip=flip)
    torch.manual_seed(0)

    for image, labels in (patches[index] for index in range(len(patches))):
        assert image.shape == (1, 8, 8)
        assert torch.equal(image[0].long(), labels)


def test_patches_reach_every_corner() -> None:
    images, labels = numbered()
    torch.manual_seed(0)
    patches = RandomPatches(images, labels, 16, 1500, rare=0.0)
    seen = torch.cat([patches[index][0].flatten() for index in range(1500)]).unique()

    assert len(seen) == images.numel()


def test_an_epoch_covers_the_images_once() -> None:
    assert len(RandomPatches(*numbered(), 10)) == 2 * 20 * 30 // 100


def test_a_patch_is_as_long_as_a_short_axis() -> None:
    image, labels = RandomPatches(*numbered(), 25)[0]

    assert image.shape == (1, 20, 25) and labels.shape == (20, 25)


def test_rare_classes_are_in_their_share_of_the_patches() -> None:
    torch.manual_seed(0)
    patches = RandomPatches(*numbered(), 5, 400, rare=0.75)
    found = sum(bool(patches[index][1].any()) for index in range(400))

    assert 270 < found < 330


def test_without_a_rare_class_places_are_drawn_evenly() -> None:
    images, labels = numbered()

    assert len(RandomPatches(images, 0 * labels, 5, 3, rare=1.0)[2][1]) == 5


def test_places_outside_an_epoch_are_an_index_error() -> None:
    patches = RandomPatches(*numbered(), 10)

    with pytest.raises(IndexError):
        patches[len(patches)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"size": 0}, ValueError, "size must be at least 1, got 0"),
        ({"length": 0}, ValueError, "length must be at least 1, got 0"),
        ({"rare": 1.5}, ValueError, r"rare must be in \[0, 1\], got 1.5"),
        ({"images": [1]}, TypeError, "images must be a Tensor, got list"),
        ({"images": torch.rand(2, 20, 30)}, ValueError, r"labels must have shape \(N, W, H\)"),
    ],
)
def test_bad_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    images, labels = numbered()
    with pytest.raises(error, match=message):
        RandomPatches(**{"images": images, "labels": labels, "size": 4, **arguments})


# Of images that are read one by one


class Pairs(list[tuple[Tensor, Tensor]]):
    """Pairs in memory, with a label that does not count."""

    ignore_index: int | None = None


def pairs_of(images: Tensor, labels: Tensor, *, ignored: int | None = None) -> Pairs:
    pairs = Pairs(zip(images, labels, strict=True))
    pairs.ignore_index = ignored
    return pairs


def test_labels_of_patches_of_files_are_those_of_the_pixels() -> None:
    images, _ = numbered()
    patches = FilePatches(pairs_of(images, images[:, 0].long()), 8)
    torch.manual_seed(0)

    for image, labels in (patches[index] for index in range(len(patches))):
        assert image.shape == (1, 8, 8)
        assert torch.equal(image[0].long(), labels)


def test_every_file_is_as_often_in_an_epoch_that_covers_all() -> None:
    images = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 20, 30)
    patches = FilePatches(pairs_of(images, torch.zeros(3, 20, 30).long()), 10)

    seen = [int(patches[index][0][0, 0, 0]) for index in range(len(patches))]

    assert len(patches) == 3 * 20 * 30 // 100
    assert [seen.count(image) for image in range(3)] == [6, 6, 6]


def test_half_of_the_patches_of_a_file_are_around_its_rare_class() -> None:
    torch.manual_seed(0)
    images, labels = numbered(count=1)
    patches = FilePatches(pairs_of(images, labels), 3)

    found = [bool(patches[index % len(patches)][1].any()) for index in range(400)]

    assert 160 < sum(found) < 240


@pytest.mark.parametrize(("label", "ignored"), [(-1, None), (200, 200)])
def test_no_patch_is_drawn_around_what_is_ignored(label: int, ignored: int | None) -> None:
    torch.manual_seed(0)
    images, labels = numbered(count=1)
    patches = FilePatches(pairs_of(images, labels * label, ignored=ignored), 3)

    found = [bool(patches[index % len(patches)][1].any()) for index in range(400)]

    assert sum(found) < 20


def test_a_patch_of_a_file_is_as_long_as_a_short_axis() -> None:
    patches = FilePatches([(torch.rand(1, 6, 30), torch.zeros(6, 30).long())], 25)

    assert patches[0][0].shape == (1, 6, 25)
    with pytest.raises(IndexError):
        patches[len(patches)]


@pytest.mark.parametrize(
    ("data", "size", "message"),
    [
        ([], 4, "data must hold at least one sample, got none"),
        ([(torch.rand(1, 6, 6), torch.zeros(6, 6).long())], 0, "size must be at least 1, got 0"),
    ],
)
def test_patches_of_files_that_cannot_be_are_named(data: Any, size: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FilePatches(data, size)
