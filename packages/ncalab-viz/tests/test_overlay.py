from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from ncalab.viz import AnimatorStyle, animator_styles, draw_segmentation_overlay
from ncalab.viz.colors import class_colors

MASK = np.zeros((7, 19), dtype=bool)
MASK[2:5, 3:11] = True


@pytest.mark.parametrize("shape", [(7, 19), (1, 7, 19), (7, 19, 1), (3, 7, 19), (7, 19, 3)])
@pytest.mark.parametrize("style", ["dark", "light"])
def test_the_colour_is_on_the_mask_and_nowhere_else(
    shape: tuple[int, ...], style: str, keep: Callable[[Any], Any]
) -> None:
    image = keep(np.random.default_rng(0).random(shape))

    drawn = draw_segmentation_overlay(image, keep(MASK.copy()), style)

    plain = draw_segmentation_overlay(image, np.zeros_like(MASK), style)
    color = np.array(animator_styles[style].overlay)
    np.testing.assert_array_equal(drawn[~MASK], plain[~MASK])
    np.testing.assert_allclose(drawn[MASK], (plain[MASK] + color) / 2, rtol=1e-12)
    np.testing.assert_array_equal(plain.mean(axis=-1), _gray(image))


def _gray(image: np.ndarray) -> np.ndarray:
    """Return the mean colour of an image of any layout."""
    if image.ndim == 2:
        image = image[..., None]
    last = image if image.shape[-1] in (1, 3) else np.moveaxis(image, 0, -1)
    return np.asarray(np.repeat(last, 3 // last.shape[-1], axis=-1).mean(axis=-1))


def test_transparent_cells_show_the_background_of_the_style() -> None:
    style = AnimatorStyle("#ff0000", "#00ff00", "white", "white")

    drawn = draw_segmentation_overlay(np.zeros((4, 7, 19)), MASK, style)

    assert np.unique(drawn[~MASK], axis=0).tolist() == [[1, 0, 0]]
    assert np.unique(drawn[MASK], axis=0).tolist() == [[0.5, 0.5, 0]]


def test_bytes_stay_bytes_and_are_the_same_off_the_mask() -> None:
    image = np.random.default_rng(0).integers(0, 256, (7, 19, 3), dtype=np.uint8)

    drawn = draw_segmentation_overlay(image, MASK, "dark")

    assert drawn.dtype == np.uint8
    np.testing.assert_array_equal(drawn[~MASK], image[~MASK])


def test_every_class_has_its_colour() -> None:
    mask = np.array([[0, 1, 2, 3]])

    drawn = draw_segmentation_overlay(np.zeros((1, 4)), mask, "light")

    np.testing.assert_allclose(drawn[0, 1:], class_colors(3) / 2)
    assert drawn[0, 0].tolist() == [0, 0, 0]


def test_masks_of_image_files_and_of_floats_are_masks_of_one_class() -> None:
    want = draw_segmentation_overlay(np.zeros((7, 19)), MASK, "light")

    for mask in (MASK.astype(np.uint8) * 255, MASK.astype(float), MASK[None].astype(int)):
        np.testing.assert_array_equal(
            draw_segmentation_overlay(np.zeros((7, 19)), mask, "light"), want
        )
    assert want[3, 4].tolist() == pytest.approx(np.array(to_rgb("#d55e00")) / 2)


def test_an_image_with_channels_last_is_not_turned() -> None:
    image = np.zeros((4, 9, 3))
    image[1, 8] = (1.0, 0.0, 0.0)

    drawn = draw_segmentation_overlay(image, np.zeros((4, 9), bool), "dark")

    np.testing.assert_array_equal(drawn, image)


def test_unknown_and_negative_values_are_black_and_never_nan() -> None:
    image = np.full((7, 19), -5.0)
    image[0, 0] = np.nan

    assert draw_segmentation_overlay(image, np.zeros_like(MASK), "dark").max() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": np.zeros((19, 7))}, r"mask must have the size of image \(7, 19\), got \(19, 7\)"),
        ({"mask": np.full((7, 19), 0.3)}, "mask must hold classes, got the fraction 0.3"),
        ({"style": "pink"}, "style must be one of dark, light, got 'pink'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    good = {"image": np.zeros((7, 19)), "mask": MASK, "style": "dark"}
    with pytest.raises(ValueError, match=message):
        draw_segmentation_overlay(**{**good, **arguments})
