import numpy as np
import pytest
from viz_models import SegmentationModel, make, random_images, state_of

from ncalab.viz.arrays import check_classes, check_images, check_planes, displayed


def test_image_channels_are_taken_from_images_and_states() -> None:
    model = make(SegmentationModel, 3, 2, 1)
    images = random_images(2, 3)
    state = state_of(model, images)
    prediction = model.predict(state, 1)

    for given in (images.numpy(), state.numpy(), images):
        np.testing.assert_array_equal(check_images(model, given, prediction), images.numpy())


@pytest.mark.parametrize("shape", [(2, 2, 7, 19), (2, 3, 19, 7), (1, 3, 7, 19), (3, 7, 19)])
def test_other_images_are_named(shape: tuple[int, ...]) -> None:
    model = make(SegmentationModel, 3, 2, 1)
    prediction = model.predict(random_images(2, 3), 1)

    with pytest.raises(ValueError, match=r"image must have shape .* here \(2, 3, 7, 19\), got"):
        check_images(model, np.zeros(shape), prediction)


@pytest.mark.parametrize("shape", [(1, 7, 19, 1), (7, 19), (2, 7, 19), (1, 2, 7, 19)])
def test_planes_of_another_shape_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"label must have shape .* here \(1, 7, 19\), got"):
        check_planes("label", np.zeros(shape), (1, 7, 19))


@pytest.mark.parametrize("shape", [(), (3,), (2, 2), (1, 2)])
def test_classes_of_another_shape_are_named(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"label must have shape \(B,\) or \(B, 1\), here \(2,\)"):
        check_classes(np.zeros(shape), 2)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("value", [-7.0, 0.0, 0.5, 7.0, np.nan])
def test_constant_images_of_any_value_are_displayed(channels: int, value: float) -> None:
    shown = displayed(np.full((2, channels, 3, 3), value))

    assert np.isfinite(shown).all()


def test_standardised_images_are_scaled_by_one_factor() -> None:
    images = np.stack([np.full((3, 2, 2), -2.0), np.full((3, 2, 2), 1.0)])
    images[1, 0, 0, 0] = 2.0

    shown = displayed(images)

    assert shown.min() == 0 and shown.max() == 1
    np.testing.assert_allclose(shown[1, 1], 0.75)


def test_opacities_and_images_in_range_stay() -> None:
    premultiplied = np.random.default_rng(0).normal(size=(1, 4, 3, 3))
    images = np.random.default_rng(0).random((1, 3, 3, 3)) / 2

    np.testing.assert_array_equal(displayed(premultiplied), premultiplied)
    np.testing.assert_array_equal(displayed(images), images)
