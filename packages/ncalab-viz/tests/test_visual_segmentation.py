from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from sklearn.metrics import f1_score
from viz_models import SegmentationModel, make, random_images, state_of

from ncalab.viz import VisualBinaryImageSegmentation
from ncalab.viz.visuals.segmentation import draw_mistakes, mean_dice


def shown(figure: Figure, place: int) -> np.ndarray:
    return np.asarray(figure.axes[place].get_images()[0].get_array())


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("classes", [1, 3])
def test_a_batch_is_drawn_and_nothing_changed(
    batch: int, channels: int, classes: int, keep: Callable[[Any], Any]
) -> None:
    model = make(SegmentationModel, channels, 2, classes)
    image = keep(random_images(batch, channels).numpy())
    label = keep(np.random.default_rng(0).integers(0, max(classes, 2), (batch, 1, 7, 19)))
    prediction = model.predict(state_of(model, torch.from_numpy(image)), 1)
    keep(prediction.output_image)

    figure = VisualBinaryImageSegmentation().show(model, image, prediction, label)
    figure.canvas.draw()

    assert len(figure.axes) == 4 * batch


def test_twelve_classes_and_a_constant_negative_image_are_drawn() -> None:
    model = make(SegmentationModel, 3, 0, 12)
    image = np.full((1, 3, 7, 19), -2.0, np.float32)
    prediction = model.predict(state_of(model, torch.from_numpy(image)), 1)

    figure = VisualBinaryImageSegmentation().show(model, image, prediction, np.zeros((1, 7, 19)))
    figure.canvas.draw()

    assert shown(figure, 0).max() == 0


def test_masks_are_tinted_and_mistakes_coloured_by_kind() -> None:
    model = make(SegmentationModel, 3, 0, 1)
    image = torch.zeros(1, 3, 2, 2)
    state = state_of(model, image, torch.tensor([[[[5.0, 5.0], [-5.0, -5.0]]]]))
    label = np.array([[[1, 0], [1, 0]]])

    figure = VisualBinaryImageSegmentation().show(
        model, image.numpy(), model.predict(state, 1), label
    )

    orange = np.array(to_rgb("#d55e00"))
    predicted, truth, mistakes = (shown(figure, place) for place in (1, 2, 3))
    np.testing.assert_allclose(predicted[0], [orange / 2] * 2)
    assert predicted[1].max() == 0
    np.testing.assert_allclose(truth[:, 0], [orange / 2] * 2)
    np.testing.assert_allclose(mistakes[0, 1], orange)  # false
    np.testing.assert_allclose(mistakes[1, 0], to_rgb("#0072b2"))  # missed
    np.testing.assert_allclose(mistakes[[0, 1], [0, 1]], 0.6)
    assert figure.axes[3].get_xlabel() == "Dice 0.50"


def test_cells_to_ignore_are_no_mistakes() -> None:
    predicted, truth = np.array([[1, 2, 0]]), np.array([[np.nan, 1, np.nan]])

    drawn = draw_mistakes(np.ones((1, 1, 3)), predicted, truth)

    assert drawn[0, [0, 2]].tolist() == [[1, 1, 1], [1, 1, 1]]
    np.testing.assert_allclose(drawn[0, 1], to_rgb("#cc79a7"))


@pytest.mark.parametrize("classes", [2, 3, 12])
def test_the_score_is_the_mean_f1_of_the_classes_without_background(classes: int) -> None:
    rng = np.random.default_rng(classes)
    predicted, truth = rng.integers(0, classes, (2, 7, 19)).astype(float)

    want = f1_score(truth.ravel(), predicted.ravel(), labels=range(1, classes), average="macro")

    assert mean_dice(predicted, truth, classes) == pytest.approx(want, abs=1e-12)
    assert mean_dice(predicted[::-1], truth[::-1], classes) == pytest.approx(want, abs=1e-12)


def test_nothing_found_where_nothing_is_scores_one() -> None:
    assert mean_dice(np.zeros((2, 2)), np.zeros((2, 2)), 2) == 1.0


def test_a_label_of_another_shape_is_named() -> None:
    model = make(SegmentationModel, 3, 0, 1)
    image = random_images(2, 3)
    prediction = model.predict(image, 1)

    with pytest.raises(ValueError, match=r"label must have shape .*\(2, 7, 19\), got \(2, 19, 7\)"):
        VisualBinaryImageSegmentation().show(model, image.numpy(), prediction, np.zeros((2, 19, 7)))
