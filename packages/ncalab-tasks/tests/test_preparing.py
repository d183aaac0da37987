import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ncalab.core import Preparation
from ncalab.core.intensities import NORMALIZATIONS, Normalization
from ncalab.core.resizing import resize_nearest
from ncalab.tasks import (
    CascadeNCA,
    ClassificationDataset,
    DepthDataset,
    GrowingNCADataset,
    IDXDataset,
    MedMNISTDataset,
    SegmentationNCADataset,
    SegmentationNCAModel,
)
from ncalab.tasks.preparing import for_transform, transform_name, used_range, warn_of_range

Array = np.ndarray
SIZE = (12, 10)
COUNT = 3


def images(dtype: Any = np.uint8, low: int = 0, high: int = 256) -> Array:
    """Grey images with a little contrast of their own each."""
    drawn = np.random.default_rng(0).integers(low, high, (COUNT, *SIZE, 1))
    return (drawn - drawn % np.arange(1, COUNT + 1)[:, None, None, None]).astype(dtype)


def masks() -> Array:
    return np.random.default_rng(1).integers(0, 2, (COUNT, *SIZE)).astype(np.uint8)


def save(folder: Path, arrays: Array) -> None:
    folder.mkdir()
    for number, array in enumerate(arrays):
        Image.fromarray(array.squeeze()).save(folder / f"{number}.png")


def segmentation(path: Path, pixels: Array, **options: Any) -> Any:
    save(path / "images", pixels)
    save(path / "masks", masks() * np.uint8(255))
    return SegmentationNCADataset(path, **options)


def depth(path: Path, pixels: Array, **options: Any) -> Any:
    save(path / "images", pixels)
    save(path / "depths", masks().astype(np.uint16) + 1)
    return DepthDataset(path, num_image_channels=1, **options)


def classification(_path: Path, pixels: Array, **options: Any) -> Any:
    return ClassificationDataset(pixels, np.arange(COUNT), **options)


def medmnist(path: Path, pixels: Array, **options: Any) -> Any:
    labels = np.arange(COUNT)[:, None]
    np.savez(path / "data.npz", train_images=pixels, train_labels=labels)
    return MedMNISTDataset(path / "data.npz", **options)


Make = Callable[..., Any]
EVERY: dict[str, Make] = {
    "segmentation": segmentation,
    "depth": depth,
    "classification": classification,
    "medmnist": medmnist,
}
every = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)
of_cells = pytest.mark.parametrize("make", [segmentation, depth])


@every
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("kind", NORMALIZATIONS)
@pytest.mark.parametrize("resize", [None, (6, 7)])
def test_a_data_set_yields_what_its_preparation_makes_of_each_image(
    make: Make, tmp_path: Path, dtype: Any, kind: Normalization, resize: tuple[int, int] | None
) -> None:
    pixels = images(dtype)

    dataset = make(tmp_path, pixels, normalize=kind, resize=resize)

    told = "percentile" if (kind, dtype) == ("auto", np.uint16) else kind
    assert dataset.preparation == Preparation(channels=1, normalize=told, resize=resize)
    for number in range(COUNT):
        image = dataset[number][0]
        assert image.shape == (1, *(resize or SIZE))
        assert torch.equal(image, dataset.preparation.apply(pixels[number]))


@every
def test_eight_bits_are_divided_by_255_unless_told_otherwise(make: Make, tmp_path: Path) -> None:
    pixels = images()

    dataset = make(tmp_path, pixels)

    assert dataset.preparation.normalize == "auto"
    for number in range(COUNT):
        want = torch.from_numpy(pixels[number, ..., 0] / 255).float()
        torch.testing.assert_close(dataset[number][0][0], want, rtol=0, atol=1e-7)


@every
def test_twelve_bits_in_sixteen_fill_the_range_unless_told_otherwise(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = make(tmp_path, images(np.uint16, 400, 1600))

    for number in range(COUNT):
        image = dataset[number][0]
        assert image.quantile(0.01) < 0.1 and image.quantile(0.99) > 0.9
    assert not caplog.records


@every
def test_what_was_done_to_sixteen_bits_is_done_to_later_images_of_any_depth(
    make: Make, tmp_path: Path
) -> None:
    pixels = images(np.uint16, 400, 1600)

    preparation = make(tmp_path, pixels).preparation

    want = preparation.apply(pixels[0])
    for later in (pixels[0] / 65535, (pixels[0] / 8).astype(np.float32)):
        torch.testing.assert_close(preparation.apply(later), want, rtol=0, atol=1e-5)
    eight = preparation.apply((pixels[0] / 8).astype(np.uint8))
    torch.testing.assert_close(eight, want, rtol=0, atol=0.01)


def test_depths_that_differ_are_each_prepared_by_their_own(tmp_path: Path) -> None:
    segmentation(tmp_path, images())
    Image.fromarray(images(np.uint16, 400, 1600)[0, ..., 0]).save(tmp_path / "images" / "0.png")

    assert SegmentationNCADataset(tmp_path).preparation.normalize == "auto"
    assert SegmentationNCADataset(tmp_path, ["0"]).preparation.normalize == "percentile"


@of_cells
def test_labels_are_resized_with_their_image(make: Make, tmp_path: Path) -> None:
    whole = torch.from_numpy(masks())

    dataset = make(tmp_path, images(), resize=(5, 4))

    for number in range(COUNT):
        label = dataset[number][1]
        want = resize_nearest(whole[number], (5, 4)) + (make is depth)
        assert torch.equal(label.long(), want.long())


@every
def test_a_transform_is_given_the_image_as_it_was_read_or_prepared(
    make: Make, tmp_path: Path
) -> None:
    pixels = images()
    seen: list[Array] = []

    def look(image: Array, mask: Array | None = None) -> dict[str, Any]:
        seen.append(image)
        return {"image": image, "mask": mask}

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    plain = make(tmp_path / "a", pixels, transform=look)
    prepared = make(tmp_path / "b", pixels, transform=look, normalize="range", resize=(4, 3))

    first, second = plain[1][0], prepared[1][0]

    assert np.array_equal(seen[0], pixels[1])
    assert seen[1].dtype == np.float32 and seen[1].shape == (4, 3, 1)
    assert torch.equal(first, plain.preparation.apply(pixels[1]))
    assert torch.equal(second, prepared.preparation.apply(pixels[1]))
    assert prepared.preparation.transform == "look"


@every
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalize": "loud"}, "normalize must be one of auto, range"),
        ({"resize": (0, 3)}, r"resize\[0\] must be at least 1, got 0"),
    ],
)
def test_wrong_preparations_are_refused(
    make: Make, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(tmp_path, images(), **options)


def test_idx_files_are_prepared_like_arrays(tmp_path: Path) -> None:
    pixels = images()[..., 0]
    head = bytes([0, 0, 8, 3]) + np.array(pixels.shape, ">u4").tobytes()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(head + pixels.tobytes())
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(
        bytes([0, 0, 8, 1, 0, 0, 0, COUNT]) + bytes(range(COUNT))
    )

    dataset = IDXDataset(tmp_path, normalize="standardize", resize=(3, 3))

    want = Preparation(channels=1, normalize="standardize", resize=(3, 3))
    assert dataset.preparation == want
    assert torch.equal(dataset[2][0], want.apply(pixels[2]))


def test_a_part_of_a_data_set_is_prepared_like_the_whole(tmp_path: Path) -> None:
    dataset = classification(tmp_path, images(np.uint16), normalize="percentile", resize=(4, 4))

    part = dataset.subset([2, 0], np.flip)

    assert part.preparation == Preparation(
        channels=1, normalize="percentile", resize=(4, 4), transform="flip"
    )
    assert torch.equal(dataset.subset([2, 0])[0][0], dataset[2][0])


def test_a_picture_to_grow_is_drawn_as_it_is() -> None:
    picture = np.full((4, 5, 4), 128, np.uint8)

    dataset = GrowingNCADataset(picture, 8)

    assert dataset.preparation == Preparation(channels=4, premultiply=True)
    assert torch.equal(dataset[0][1], dataset.preparation.apply(picture))
    with pytest.raises(ValueError, match="normalize must be 'none' for a picture to grow, which"):
        GrowingNCADataset(picture, 8, normalize="range")  # type: ignore[arg-type]  # of a wrong type


# Warnings


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@every
@pytest.mark.parametrize(
    ("dtype", "low", "high", "said"),
    [
        (np.uint16, 400, 1600, "values from (399|4..) to 15.. of 65535"),
        (np.uint8, 3, 20, "values from 2 to 1. of 255"),
    ],
)
def test_images_that_use_under_a_tenth_of_their_range_are_told_of(
    make: Make,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    dtype: Any,
    low: int,
    high: int,
    said: str,
) -> None:
    make(tmp_path, images(dtype, low, high), normalize="none")

    (text,) = warnings_of(caplog)
    assert "use under a tenth of their range" in text and "normalize='percentile'" in text
    assert re.search(said, text)


@every
@pytest.mark.parametrize("kind", ["range", "percentile", "standardize"])
def test_nothing_is_told_of_images_that_are_normalised(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: Normalization
) -> None:
    make(tmp_path, images(np.uint16, 400, 1600), normalize=kind)

    assert not warnings_of(caplog)


def test_one_image_of_many_values_is_enough(caplog: pytest.LogCaptureFixture) -> None:
    used = [used_range(np.full((5, 5, 1), value, np.uint8)) for value in (10, 12, 200)]

    warn_of_range("images", Preparation(), used)

    assert not warnings_of(caplog)


def test_a_hot_pixel_does_not_hide_how_little_of_the_range_is_used(
    caplog: pytest.LogCaptureFixture,
) -> None:
    image = np.random.default_rng(0).integers(400, 1600, (64, 64, 1)).astype(np.uint16)
    image[3, 3] = 65535

    warn_of_range("images", Preparation(), [used_range(image)])

    assert "values from 400 to 1599" in warnings_of(caplog)[0]


def test_an_opacity_is_no_value_of_an_image() -> None:
    image = np.zeros((4, 4, 4), np.uint8)
    image[:2, :, 3] = 255

    assert used_range(image) == (np.dtype(np.uint8), 0.0, 0.0)


def test_floating_point_far_beyond_the_range_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    image = np.linspace(400, 1600, 100, dtype=np.float32).reshape(10, 10, 1)

    warn_of_range("images", Preparation(normalize="auto"), [used_range(image)])

    assert (
        "images hold values far beyond [0, 1] (values from 401.2 to 1599)"
        in (warnings_of(caplog)[0])
    )


def test_the_range_of_many_values_is_told_from_some_of_them() -> None:
    image = np.random.default_rng(0).random((800, 700, 3)).astype(np.float32)

    _, low, high = used_range(image)

    assert low == pytest.approx(0.001, abs=3e-4) and high == pytest.approx(0.999, abs=3e-4)


# Transforms


class Compose:
    def __call__(self, **_: Any) -> dict[str, Any]:
        return {}


class Jitter(Compose):
    augments_only = True


def test_a_transform_has_the_name_of_its_class_or_function() -> None:
    assert transform_name(None) is None
    assert transform_name(Compose()) == "Compose"
    assert transform_name(np.flip) == "flip"
    assert transform_name(partial(np.flip, axis=0)) == "flip"
    assert transform_name(Jitter()) is None


def test_a_prepared_image_has_its_channels_last() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
    preparation = Preparation(resize=(3, 4))

    array = for_transform(preparation, image)

    assert array.shape == (3, 4, 3) and array.flags.c_contiguous
    assert torch.equal(torch.from_numpy(array).permute(2, 0, 1), preparation.apply(image))
    assert for_transform(Preparation(), image) is image


# Cascades


def test_a_cascade_has_the_preparation_of_the_model_that_it_wraps(tmp_path: Path) -> None:
    model = SegmentationNCAModel(torch.device("cpu"), 1, 2, hidden_size=4)
    model.preparation = Preparation(resize=(3, 3))
    cascade = CascadeNCA(model, [2, 1], [2, 1], single_model=False)
    assert cascade.preparation == Preparation(resize=(3, 3))

    cascade.preparation = Preparation(channels=1, normalize="range")
    cascade.save_pretrained(tmp_path)

    assert model.preparation == cascade.preparation
    described = cascade.to_dict()
    assert described["preparation"] == cascade.preparation.to_dict()
    assert "preparation" not in described["wrapped"]
    twin = CascadeNCA.from_pretrained(tmp_path)
    assert twin.preparation == twin.wrapped.preparation == cascade.preparation
    assert [copy.preparation for copy in twin.models] == [cascade.preparation] * 2
