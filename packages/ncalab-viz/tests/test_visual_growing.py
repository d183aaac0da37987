from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from viz_models import make_fading

from ncalab.viz import Visual, VisualGrowing


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_batch_is_drawn_and_nothing_changed(
    batch: int, channels: int, keep: Callable[[Any], Any]
) -> None:
    model = make_fading(channels)
    state = keep(np.random.default_rng(0).random((batch, model.num_channels, 7, 19)))
    label = keep(np.random.default_rng(1).random((batch, channels, 7, 19)))
    prediction = model.predict(torch.from_numpy(state), 3)
    keep(prediction.output_image)

    figure = VisualGrowing().show(model, state, prediction, label)
    figure.canvas.draw()

    assert len(figure.axes) == 4 * batch


def test_at_most_eight_samples_are_drawn() -> None:
    model = make_fading(1)
    state = np.zeros((12, model.num_channels, 3, 3), np.float32)

    figure = VisualGrowing().show(
        model, state, model.predict(torch.from_numpy(state), 1), state[:, :1]
    )

    assert len(figure.axes) == 4 * 8


@pytest.mark.parametrize("shape", [(1, 1, 4, 5), (1, 3, 5, 4), (3, 4, 5)])
def test_a_label_of_another_shape_is_named(shape: tuple[int, ...]) -> None:
    model = make_fading(3)
    state = np.zeros((1, 3, 4, 5), np.float32)
    prediction = model.predict(torch.from_numpy(state), 1)

    with pytest.raises(ValueError, match=r"label must have the shape of the image channels"):
        VisualGrowing().show(model, state, prediction, np.zeros(shape))


def test_the_error_row_shows_the_mean_absolute_error() -> None:
    model = make_fading(3)
    state = np.zeros((1, model.num_channels, 4, 5), np.float32)
    label = np.zeros((1, 3, 4, 5), np.float32)
    label[0, :, 2, 3] = (0.5, 0.2, 0.2)
    prediction = model.predict(torch.from_numpy(state), 2)  # 0.2 everywhere

    figure = VisualGrowing().show(model, state, prediction, label)

    shown = np.asarray(figure.axes[3].get_images()[0].get_array())
    np.testing.assert_allclose(shown[0, 0], 0.2, rtol=1e-6)
    np.testing.assert_allclose(shown[2, 3], 0.1, rtol=1e-6)


def test_a_visual_without_show_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="show"):
        Visual()  # type: ignore[abstract]  # the fault under test
