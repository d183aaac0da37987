from typing import Any

import numpy as np
import pytest
import torch

from ncalab.tasks import GrowingNCADataset


def rgba() -> np.ndarray:
    image = np.zeros((4, 6, 4), np.uint8)
    image[1, 2] = (255, 51, 0, 102)
    image[3, 5] = (255, 255, 255, 0)  # white, but invisible
    return image


def test_the_image_is_premultiplied_and_keeps_its_axes() -> None:
    _, image = GrowingNCADataset(rgba(), 16)[0]

    assert image.shape == (4, 4, 6)
    assert image.dtype == torch.float32
    torch.testing.assert_close(image[:, 1, 2], torch.tensor([0.4, 0.08, 0.0, 0.4]))
    assert image[:, 3, 5].tolist() == [0, 0, 0, 0]


def test_floating_point_and_8_bit_images_are_the_same() -> None:
    first = GrowingNCADataset(rgba(), 16).image
    second = GrowingNCADataset(rgba() / 255, 16).image

    torch.testing.assert_close(first, second)


def test_iteration_ends() -> None:
    dataset = GrowingNCADataset(rgba(), 16, batch_size=3)

    assert len(list(dataset)) == len(dataset) == 3  # type: ignore[call-overload]  # by __getitem__
    with pytest.raises(IndexError, match="got 3"):
        dataset[3]


def test_changing_an_item_changes_no_other() -> None:
    dataset = GrowingNCADataset(rgba(), 16)
    seed, image = dataset[0]
    seed.zero_()
    image.zero_()

    assert dataset[1][0].sum() == 16 - 3
    assert dataset[1][1].sum() > 0


@pytest.mark.parametrize("channels", [1, 3])
def test_images_without_opacity_are_taken(channels: int) -> None:
    seed, image = GrowingNCADataset(np.ones((3, 5, channels)), channels + 2)[0]

    assert image.shape == (channels, 3, 5)
    assert seed[:, 1, 2].tolist() == [0] * channels + [1, 1]


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ([[1]], TypeError, "image must be a numpy array, got list"),
        (np.zeros((4, 4)), ValueError, r"image must have shape .* got \(4, 4\)"),
        (np.zeros((4, 4, 2)), ValueError, r"image must have shape .* got \(4, 4, 2\)"),
        (np.zeros((4, 4, 4), np.int64), TypeError, "image must be uint8, uint16 or floating point"),
        (np.full((4, 4, 4), 255.0), ValueError, r"image must be in \[0, 1\]"),
        (np.full((4, 4, 4), np.nan), ValueError, r"image must be in \[0, 1\]"),
    ],
)
def test_bad_images_are_named(image: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        GrowingNCADataset(image, 16)


def test_too_few_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="num_channels must be at least 4, got 3"):
        GrowingNCADataset(rgba(), 3)
