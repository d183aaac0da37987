from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from ncalab.tasks import SegmentationNCADataset, SegmentationNCAModel

NAMES = ["a", "b", "c.v2"]
Folder = Callable[..., Path]


def picture(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def labels(top: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, (6, 8), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Return what writes three images (6 x 8) and their masks of black and white."""

    def make(factor: int = 255, top: int = 2, suffix: str = ".png") -> Path:
        (tmp_path / "images").mkdir()
        (tmp_path / "masks").mkdir()
        for seed, name in enumerate(NAMES):
            Image.fromarray(picture(seed)).save(tmp_path / "images" / f"{name}.png")
            mask = labels(top, seed) * np.uint8(factor)
            Image.fromarray(mask).save(tmp_path / "masks" / f"{name}{suffix}")
        return tmp_path

    return make


def test_pairs_are_matched_by_name_and_keep_their_axes(folder: Folder) -> None:
    dataset = SegmentationNCADataset(folder(suffix=".tif"))

    assert len(dataset) == len(list(DataLoader(dataset))) == 3
    for i in range(3):
        image, mask = dataset[i]
        assert image.dtype == torch.float32 and mask.dtype == torch.int64
        torch.testing.assert_close(image, torch.from_numpy(picture(i)).permute(2, 0, 1) / 255)
        assert torch.equal(mask, torch.from_numpy(labels(2, i)).long())


def test_files_are_named_with_or_without_suffix_and_keep_their_order(folder: Folder) -> None:
    path = folder()

    dataset = SegmentationNCADataset(path, ["c.v2", "a.png", str(path / "images" / "b.png")])

    assert [image.name for image, _ in dataset.pairs] == ["c.v2.png", "a.png", "b.png"]
    assert [mask.name for _, mask in dataset.pairs] == ["c.v2.png", "a.png", "b.png"]


def test_other_files_are_no_images(folder: Folder) -> None:
    path = folder()
    (path / "images" / "Thumbs.db").touch()
    (path / "images" / ".hidden.png").touch()
    (path / "images" / "README.txt").touch()

    assert len(SegmentationNCADataset(path)) == 3


def test_iteration_ends(folder: Folder) -> None:
    dataset = SegmentationNCADataset(folder())

    assert len([*dataset]) == 3  # type: ignore[misc]  # iterated by __getitem__
    with pytest.raises(IndexError, match=r"idx must be in \[0, 3\), got 3"):
        dataset[3]


def test_masks_of_kvasir_are_jpegs_in_colour(folder: Folder) -> None:
    path = folder()
    for file in (path / "masks").iterdir():
        file.unlink()
    mask = np.zeros((6, 8), np.uint8)
    mask[1:5, 2:7] = 255
    for name in NAMES:
        Image.fromarray(mask).convert("RGB").save(path / "masks" / f"{name}.jpg", quality=75)

    assert np.array_equal(SegmentationNCADataset(path)[0][1].numpy(), mask > 127)


def test_white_of_16_bits_is_foreground(folder: Folder) -> None:
    path = folder()
    Image.fromarray(labels(2).astype(np.uint16) * 65535).save(path / "masks" / "a.png")

    assert torch.equal(SegmentationNCADataset(path)[0][1], torch.from_numpy(labels(2)).long())


def test_masks_may_have_a_name_and_folders_of_their_own(folder: Folder) -> None:
    path = folder()
    (path / "images").rename(path / "img")
    (path / "masks").rename(path / "gt")
    for file in (path / "gt").iterdir():
        file.rename(file.with_name(f"{file.stem}_mask.png"))

    dataset = SegmentationNCADataset(path, images="img", masks="gt", mask_suffix="_mask")

    assert len(dataset) == 3


@pytest.mark.parametrize("count", [3, 12])
def test_values_of_a_mask_are_its_classes(folder: Folder, count: int) -> None:
    dataset = SegmentationNCADataset(folder(1, count), num_classes=count)

    assert torch.equal(dataset[1][1], torch.from_numpy(labels(count, 1)).long())


def test_ignored_labels_are_kept(folder: Folder) -> None:
    path = folder(1, 3)
    mask = labels(3)
    mask[0] = 255
    Image.fromarray(mask).save(path / "masks" / "a.png")

    dataset = SegmentationNCADataset(path, num_classes=3, ignore_index=255)

    assert dataset[0][1][0].tolist() == [255] * 8


# Transforms


def flipped(*, image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
    return {"image": image[::-1], "mask": mask[::-1]}


def test_a_transform_gets_arrays_and_its_split_alone(folder: Folder) -> None:
    path = folder()
    seen: list[tuple[Any, Any]] = []

    def watching(*, image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        seen.append((image, mask))
        return flipped(image=image, mask=mask)

    train = SegmentationNCADataset(path, ["a"], watching)
    val = SegmentationNCADataset(path, ["a"])

    assert torch.equal(train[0][0], val[0][0].flip(1))
    assert torch.equal(train[0][1], val[0][1].flip(0))
    assert [(image.shape, mask.dtype) for image, mask in seen] == [((6, 8, 3), np.uint8)] * 2


def test_a_transform_may_write_into_what_it_gets(folder: Folder) -> None:
    def blackening(*, image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        image[:], mask[:] = 0, 0
        return {"image": image, "mask": mask}

    dataset = SegmentationNCADataset(folder(), transform=blackening)

    assert dataset[0][0].sum() == dataset[0][1].sum() == 0


def test_a_transform_may_return_tensors_and_float_images(folder: Folder) -> None:
    def to_tensors(*, image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
        normal = (image.astype(np.float32) - 100) / 50
        return {"image": torch.from_numpy(normal).permute(2, 0, 1), "mask": torch.from_numpy(mask)}

    image, mask = SegmentationNCADataset(folder(), transform=to_tensors)[0]

    torch.testing.assert_close(
        image, (torch.from_numpy(picture(0)).permute(2, 0, 1).float() - 100) / 50
    )
    assert torch.equal(mask, torch.from_numpy(labels(2)).long())


@pytest.mark.parametrize(
    ("transform", "error", "message"),
    [
        (lambda image, mask: (image, mask), TypeError, 'dictionary with "image" and "mask"'),
        (lambda image, mask: {"image": image}, TypeError, 'dictionary with "image" and "mask"'),
        (
            lambda image, mask: {"image": image[:3], "mask": mask},
            ValueError,
            r"\(3, 8\), got \(6, 8\)",
        ),
        (lambda image, mask: {"image": image, "mask": mask * 0.5}, ValueError, "whole numbers"),
        (lambda image, mask: {"image": image, "mask": mask + 5}, ValueError, r"in \[0, 1\]"),
    ],
)
def test_transforms_that_break_a_pair_are_told(
    folder: Folder, transform: Any, error: type[Exception], message: str
) -> None:
    dataset = SegmentationNCADataset(folder(), transform=transform)

    with pytest.raises(error, match=message):
        dataset[0]


# What is wrong is named before training starts


def test_a_missing_mask_is_named(folder: Folder) -> None:
    path = folder()
    (path / "masks" / "b.png").unlink()

    with pytest.raises(FileNotFoundError, match="masks/b is missing"):
        SegmentationNCADataset(path)
    assert len(SegmentationNCADataset(path, ["a", "c.v2"])) == 2


def test_a_missing_image_and_a_missing_folder_are_named(folder: Folder) -> None:
    path = folder()

    with pytest.raises(FileNotFoundError, match="images/d.png is missing"):
        SegmentationNCADataset(path, ["a", "d.png"])
    with pytest.raises(FileNotFoundError, match="path must hold the folder labels"):
        SegmentationNCADataset(path, masks="labels")


def test_a_mask_of_another_image_is_no_substitute(folder: Folder) -> None:
    path = folder()
    Image.fromarray(picture(4)).save(path / "images" / "a.v2.png")

    with pytest.raises(FileNotFoundError, match="masks/a.v2 is missing"):
        SegmentationNCADataset(path)


def test_no_files_and_a_name_instead_of_names_are_refused(folder: Folder) -> None:
    path = folder()

    with pytest.raises(ValueError, match="files must name at least one image"):
        SegmentationNCADataset(path, [])
    with pytest.raises(TypeError, match="files must be a list of names, got 'a'"):
        SegmentationNCADataset(path, "a")


def test_a_name_that_stands_for_two_files_is_refused(folder: Folder) -> None:
    path = folder()
    Image.fromarray(labels(2)).save(path / "masks" / "a.tif")

    with pytest.raises(ValueError, match="a must be one file, got .*a.png.*a.tif"):
        SegmentationNCADataset(path)


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((8, 6), np.uint8), r"size of its image \(6, 8\), got \(8, 6\)"),
        (
            labels(3),
            "labels of a binary mask must be 0 and 1, 255 or 65535, got 0, 1, 2; more cl",
        ),
        (labels(2) * 254, "labels of a binary mask must be .* got 0, 254"),
        (np.stack([labels(2), labels(2, 1), labels(2, 2)], axis=-1), "one channel of labels"),
    ],
)
def test_a_mask_that_does_not_fit_is_named_with_its_reason(
    folder: Folder, mask: np.ndarray, reason: str
) -> None:
    path = folder()
    Image.fromarray(mask).save(path / "masks" / "b.png")

    with pytest.raises(ValueError, match=rf"masks/b.png:? .*{reason}"):
        SegmentationNCADataset(path)


def test_labels_beyond_the_classes_are_named(folder: Folder) -> None:
    path = folder(1, 3)
    Image.fromarray(labels(5)).save(path / "masks" / "b.png")

    with pytest.raises(ValueError, match=r"masks/b.png: labels must be in \[0, 2\], got 3, 4"):
        SegmentationNCADataset(path, num_classes=3)


def test_lossy_labels_are_refused(folder: Folder) -> None:
    path = folder(1, 3)
    (path / "masks" / "b.png").unlink()
    Image.fromarray(labels(3)).save(path / "masks" / "b.jpg")

    with pytest.raises(ValueError, match="masks/b.jpg: a mask of classes must not be a JPEG"):
        SegmentationNCADataset(path, num_classes=3)
    with pytest.raises(ValueError, match="masks/b.jpg: a JPEG mask must be black and white"):
        SegmentationNCADataset(path, ["b"])


@pytest.mark.parametrize("place", ["images", "masks"])
def test_a_file_that_cannot_be_read_is_named(folder: Folder, place: str) -> None:
    path = folder()
    whole = (path / place / "b.png").read_bytes()
    (path / place / "b.png").write_bytes(whole[: len(whole) // 2])

    with pytest.raises(ValueError, match=f"{place}/b.png cannot be read as an image"):
        SegmentationNCADataset(path)


def test_all_that_is_wrong_is_told_at_once(folder: Folder) -> None:
    path = folder()
    for name in ("a", "b"):
        (path / "images" / f"{name}.png").write_text("no picture")

    with pytest.raises(ValueError, match=r"(?s)images/a.png .*images/b.png"):
        SegmentationNCADataset(path)
    for name in NAMES:
        (path / "masks" / f"{name}.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"(?s)masks/a is .*masks/b is .*masks/c.v2 is "):
        SegmentationNCADataset(path)


def test_images_of_different_channels_are_named(folder: Folder) -> None:
    path = folder()
    Image.fromarray(picture(0)).convert("L").save(path / "images" / "b.png")

    with pytest.raises(ValueError, match=r"same number of channels: .*a.png has 3, .*b.png has 1"):
        SegmentationNCADataset(path)


def test_a_batch_fits_the_model(folder: Folder) -> None:
    model = SegmentationNCAModel(torch.device("cpu"), num_classes=3, num_hidden_channels=2)
    loader = DataLoader(SegmentationNCADataset(folder(1, 3), num_classes=3), batch_size=2)

    values, _ = model.validate(loader, 1)

    assert values["dice_class_0"] > 0
