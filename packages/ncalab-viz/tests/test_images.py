import numpy as np
import pytest

from ncalab.viz.images import blend, mosaic, normalized, to_rgb_image, to_whc


@pytest.mark.parametrize(
    ("shape", "want"),
    [
        ((7, 19), (7, 19, 1)),
        ((1, 7, 19), (7, 19, 1)),
        ((3, 7, 19), (7, 19, 3)),
        ((4, 7, 19), (7, 19, 4)),
        ((7, 19, 3), (7, 19, 3)),
        ((4, 9, 3), (4, 9, 3)),
        ((3, 3, 4), (3, 3, 4)),
    ],
)
def test_channels_come_last(shape: tuple[int, ...], want: tuple[int, ...]) -> None:
    assert to_whc(np.zeros(shape)).shape == want


def test_other_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"image must have shape .* got \(2, 7, 19\)"):
        to_whc(np.zeros((2, 7, 19)))


def test_a_transparent_cell_shows_the_background_and_an_opaque_one_its_colour() -> None:
    cells = np.zeros((4, 1, 3))
    cells[:, 0, 1] = (0.2, 0.4, 0.6, 1.0)
    cells[:, 0, 2] = (0.5, 0.0, 0.0, 0.5)  # premultiplied: half-transparent red

    image = to_rgb_image(cells, background=(0.0, 1.0, 0.0))

    assert image.tolist() == [[[0, 1, 0], [0.2, 0.4, 0.6], [0.5, 0.5, 0]]]


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_any_number_of_channels_is_an_image(channels: int) -> None:
    values = np.linspace(-5, 5, channels * 6).reshape(channels, 2, 3)
    values[0, 0, 0] = np.nan

    image = to_rgb_image(values)

    assert image.shape == (2, 3, 3)
    assert image.min() >= 0 and image.max() <= 1


def test_the_mosaic_keeps_every_tile_in_its_place() -> None:
    channels = np.zeros((5, 2, 3))
    channels[4] = 1.0  # second row, second column of a 2 x 3 grid

    image = mosaic(channels)

    red = (image[..., 0] > 0.3) & (image[..., 2] < 0.2)
    assert red[2:4, 3:6].all()
    assert red.sum() == 6


def test_a_constant_image_normalizes_to_zero() -> None:
    assert normalized(np.full((2, 2), -3.0)).tolist() == [[0, 0], [0, 0]]


def test_a_tint_is_on_the_mask_and_nowhere_else() -> None:
    image = np.full((2, 2, 3), 0.5)
    mask = np.array([[True, False], [False, False]])

    tinted = blend(image, mask, (1.0, 0.0, 0.0), opacity=0.5)

    assert tinted[0, 0].tolist() == [0.75, 0.25, 0.25]
    assert (tinted[~mask] == 0.5).all()
    assert (image == 0.5).all()
