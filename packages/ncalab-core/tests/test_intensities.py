from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from ncalab.core.intensities import (
    NORMALIZATIONS,
    PERCENTILES,
    Normalization,
    normalized,
    resolved,
    to_unit_range,
    with_channels,
)

Array = np.ndarray


def noise(*shape: int, dtype: Any = np.uint8, low: int = 0, high: int = 256) -> Array:
    return np.random.default_rng(0).integers(low, high, shape).astype(dtype)


# Channels


@pytest.mark.parametrize(("mode", "wanted"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
@pytest.mark.parametrize("has", [1, 3])
def test_channels_of_opaque_pictures_are_those_of_pillow(has: int, mode: str, wanted: int) -> None:
    image = noise(6, 5, has)

    converted = with_channels(image, wanted)

    want = np.asarray(Image.fromarray(image.squeeze()).convert(mode))
    assert converted.dtype == np.uint8
    assert np.array_equal(converted, want.reshape(6, 5, wanted))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_transparent_pixels_become_black(dtype: Any) -> None:
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    image = np.array([[[top, top, top, 0], [top, top, top, top]]], dtype)

    assert with_channels(image, 1).tolist() == [[[0], [top]]]
    assert with_channels(image, 3).tolist() == [[[0, 0, 0], [top] * 3]]


@pytest.mark.parametrize(("has", "wanted"), [(2, 1), (1, 2), (5, 3), (3, 64)])
def test_other_channels_have_no_meaning_to_convert_by(has: int, wanted: int) -> None:
    with pytest.raises(ValueError, match=f"image must have {wanted} channels, got {has}"):
        with_channels(noise(2, 2, has), wanted)


def test_an_image_with_the_channels_is_returned_itself() -> None:
    image = noise(2, 3, 7)

    assert with_channels(image, 7) is image


# Values


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_none_divides_integers_by_the_largest_value_of_their_type(dtype: Any) -> None:
    image = noise(4, 5, 3, dtype=dtype)

    got = normalized(image, "none")

    assert got.dtype == np.float32
    np.testing.assert_allclose(got, image / np.iinfo(dtype).max, rtol=1e-6)


def test_floating_point_is_taken_as_it_is() -> None:
    image = np.array([[[-3.5]], [[800.25]]])

    assert normalized(image, "none").tolist() == image.tolist()
    assert normalized(image, "auto").tolist() == image.tolist()


def test_range_maps_the_lowest_value_to_0_and_the_highest_to_1() -> None:
    image = noise(9, 8, 1, dtype=np.uint16, low=400, high=1600)

    got = normalized(image, "range")

    want = (image - 400.0 - (image.min() - 400)) / (image.max() - image.min())
    np.testing.assert_allclose(got, want, atol=1e-6)
    assert (got.min(), got.max()) == (0, 1)


def test_percentile_passes_over_hot_pixels() -> None:
    image = noise(40, 40, 1, dtype=np.uint16, low=400, high=1600)
    image[3, 3], image[5, 5] = 65535, 0

    got = normalized(image, "percentile")

    low, high = np.percentile(image, PERCENTILES)
    inside = (image > 0) & (image < 65535)
    np.testing.assert_allclose(got[inside], ((image - low) / (high - low))[inside], atol=1e-5)
    assert (got[3, 3], got[5, 5]) == (2, pytest.approx(-low / (high - low)))
    assert 399 < low < 412 and 1588 < high < 1601


def test_percentiles_of_a_few_bright_points_on_nothing_fall_back_to_the_range() -> None:
    image = np.zeros((50, 50, 1), np.uint16)
    image[7, 8] = 500

    got = normalized(image, "percentile")

    assert got[7, 8] == 1 and got.sum() == 1


def test_standardize_gives_mean_0_and_deviation_1() -> None:
    image = noise(30, 20, 1, dtype=np.uint16, low=30_000, high=31_000)

    got = normalized(image, "standardize")

    values = image.astype(np.float64)
    np.testing.assert_allclose(got, (values - values.mean()) / values.std(), atol=1e-5)


@pytest.mark.parametrize("kind", ["range", "percentile", "standardize"])
@pytest.mark.parametrize("value", [0, 7, 65535])
def test_a_constant_image_becomes_zero(kind: Normalization, value: int) -> None:
    assert not normalized(np.full((4, 4, 3), value, np.uint16), kind).any()


@pytest.mark.parametrize("kind", ["range", "percentile", "standardize"])
def test_colours_are_scaled_alike_and_their_opacity_stays(kind: Normalization) -> None:
    image = noise(8, 9, 4)
    image[..., 0] //= 4

    got = normalized(image, kind)

    grey = normalized(image[..., :3].reshape(8, -1, 1), kind)
    np.testing.assert_allclose(got[..., :3].reshape(8, -1, 1), grey, atol=1e-6)
    np.testing.assert_allclose(got[..., 3], image[..., 3] / 255, rtol=1e-6)


@pytest.mark.parametrize("kind", ["range", "percentile", "standardize"])
@pytest.mark.parametrize("channels", [2, 5])
def test_other_channels_are_each_scaled_on_their_own(kind: Normalization, channels: int) -> None:
    image = noise(8, 9, channels) * np.arange(1, channels + 1)

    got = normalized(image.astype(np.uint16), kind)

    each = [normalized(image[..., k : k + 1].astype(np.uint16), kind) for k in range(channels)]
    np.testing.assert_allclose(got, np.concatenate(each, axis=-1), atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(
    offset=st.integers(0, 30_000),
    factor=st.integers(1, 100),
    kind=st.sampled_from(["range", "percentile", "standardize"]),
)
def test_neither_offset_nor_gain_of_a_camera_matters(
    offset: int, factor: int, kind: Normalization
) -> None:
    image = noise(12, 11, 1, dtype=np.uint16)
    other = offset + factor * image.astype(np.uint16)

    np.testing.assert_allclose(normalized(other, kind), normalized(image, kind), atol=2e-3)


@pytest.mark.parametrize(
    ("dtype", "want"),
    [(np.uint8, "none"), (np.uint16, "percentile"), (np.float32, "none"), (np.bool_, "none")],
)
def test_auto_takes_percentiles_of_16_bits_only(dtype: Any, want: str) -> None:
    assert resolved("auto", np.dtype(dtype)) == want
    image = noise(5, 6, 1, dtype=dtype, high=2)
    chosen: Normalization = "percentile" if want == "percentile" else "none"
    assert np.array_equal(normalized(image, "auto"), normalized(image, chosen))


@pytest.mark.parametrize("kind", NORMALIZATIONS)
@pytest.mark.parametrize("dtype", [np.int16, np.int64, np.uint32, np.complex64])
def test_types_whose_range_says_nothing_are_refused(kind: Normalization, dtype: Any) -> None:
    with pytest.raises(TypeError, match="image must be uint8, uint16 or floating point, got "):
        normalized(np.ones((2, 2, 1), dtype), kind)
    with pytest.raises(TypeError):
        to_unit_range(np.ones((2, 2, 1), dtype))
