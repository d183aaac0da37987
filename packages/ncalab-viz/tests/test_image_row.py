from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ncalab.viz import show_image_row


def drawn(axes: Any) -> list[np.ndarray]:
    """Return what the images of some axes were given."""
    return [np.asarray(image.get_array()) for axis in axes for image in axis.get_images()]


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_are_shown_unchanged(count: int, channels: int) -> None:
    images = np.random.default_rng(0).random((count, channels, 7, 19))
    before = images.copy()
    axes = Figure().subplots(1, count, squeeze=False)[0]

    show_image_row(axes, images)

    for image, shown in zip(images, drawn(axes), strict=True):
        want = image[0] if channels == 1 else np.moveaxis(image, 0, -1)
        np.testing.assert_array_equal(shown, want)
    np.testing.assert_array_equal(images, before)


def test_one_axes_is_divided_among_the_images() -> None:
    axis = Figure().subplots()

    show_image_row(axis, np.zeros((3, 7, 19)))

    boxes = [child.get_position() for child in axis.child_axes]
    assert len(boxes) == 3
    assert all(a.x1 < b.x0 for a, b in pairwise(boxes))


def test_an_image_with_channels_last_is_not_turned() -> None:
    image = np.zeros((4, 9, 3))
    image[1, 8] = (1.0, 0.0, 0.0)
    axis = Figure().subplots()

    show_image_row(axis, [image])

    np.testing.assert_array_equal(drawn([axis])[0], image)


def test_limits_and_colormap_are_in_force() -> None:
    axis = Figure().subplots()

    show_image_row(axis, [np.eye(3)], vmin=-1, vmax=3, cmap="magma")

    image = axis.get_images()[0]
    assert image.get_clim() == (-1, 3)
    assert image.get_cmap().name == "magma"


def test_limits_scale_colours_too() -> None:
    axis = Figure().subplots()

    show_image_row(axis, [np.full((2, 2, 3), 2.0)], vmin=1, vmax=5)

    assert np.unique(drawn([axis])[0]).tolist() == [0.25]


def test_normalization_is_common_to_all_images() -> None:
    axes = Figure().subplots(1, 2)

    show_image_row(axes, [np.full((2, 2), -4.0), np.full((2, 2), 4.0)], normalize=True)

    assert [float(image.max()) for image in drawn(axes)] == [0.0, 1.0]


def test_overlays_show_only_where_they_are() -> None:
    axis = Figure().subplots()
    overlay = np.array([[0.0, 2.0], [np.nan, 1.0]])

    show_image_row(
        axis,
        [np.zeros((2, 2))],
        overlays=[overlay],
        overlay_vmin=0,
        overlay_vmax=4,
        overlay_cmap="plasma",
    )

    top = axis.get_images()[1]
    assert np.ma.getmaskarray(np.ma.asarray(top.get_array())).tolist() == [
        [True, False],
        [True, False],
    ]
    assert top.get_clim() == (0, 4)
    assert top.get_cmap().name == "plasma"


def test_label_index_and_colorbar_are_there_when_asked_for() -> None:
    figure = Figure()
    axes = figure.subplots(1, 2)

    show_image_row(axes, np.zeros((2, 3, 4)), label="hello", x_index=True, colorbar=True)

    assert [axis.get_ylabel() for axis in axes] == ["hello", ""]
    assert [axis.get_xlabel() for axis in axes] == ["0", "1"]
    assert len(axes[1].child_axes) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": []}, "images must hold at least one image"),
        ({"overlays": [np.zeros((2, 2))]}, r"overlays must be as many as images \(2\), got 1"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        show_image_row(Figure().subplots(1, 2), **{"images": np.zeros((2, 3, 4)), **arguments})


def test_as_many_axes_as_images_are_needed() -> None:
    with pytest.raises(ValueError, match=r"ax must be as many as images \(3\), got 2"):
        show_image_row(Figure().subplots(1, 2), np.zeros((3, 3, 4)))
