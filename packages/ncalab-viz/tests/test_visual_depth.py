from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from viz_models import DepthModel, make, random_images, state_of

from ncalab.viz import VisualDepthEstimation


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_batch_is_drawn_and_nothing_changed(
    batch: int, channels: int, keep: Callable[[Any], Any]
) -> None:
    model = make(DepthModel, channels, 2, 1)
    image = keep(random_images(batch, channels).numpy())
    label = keep(np.random.default_rng(0).random((batch, 1, 7, 19)) + 1)
    prediction = model.predict(state_of(model, torch.from_numpy(image)), 1)
    keep(prediction.output_image)

    figure = VisualDepthEstimation().show(model, image, prediction, label)
    figure.canvas.draw()

    assert len(figure.axes) == 4 * batch


def test_depths_have_one_scale_and_unknown_ones_are_left_out() -> None:
    model = make(DepthModel, 1, 0, 1)
    image = torch.zeros(1, 1, 2, 2)
    state = state_of(model, image, torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]))
    label = np.array([[[3.0, 4.0], [np.nan, 0.0]]])

    figure = VisualDepthEstimation().show(model, image.numpy(), model.predict(state, 1), label)

    estimated, truth, error = (figure.axes[place].get_images()[0] for place in (1, 2, 3))
    assert np.asarray(estimated.get_array()).tolist() == [[2, 4], [6, 8]]
    assert estimated.get_clim() == truth.get_clim() == pytest.approx((3, 4), abs=0.02)
    assert np.ma.getmaskarray(np.ma.masked_invalid(np.ma.asarray(error.get_array()))).tolist() == [
        [False, False],
        [True, True],
    ]
    assert figure.axes[3].get_xlabel() == "MAE 0.5"


def test_a_label_without_any_depth_is_drawn() -> None:
    model = make(DepthModel, 3, 0, 1)
    image = random_images(1, 3)

    figure = VisualDepthEstimation().show(
        model, image.numpy(), model.predict(image, 1), np.zeros((1, 7, 19))
    )
    figure.canvas.draw()

    assert figure.axes[3].get_xlabel() == "MAE nan"


def test_a_label_of_another_shape_is_named() -> None:
    model = make(DepthModel, 3, 0, 1)
    image = random_images(1, 3)

    with pytest.raises(ValueError, match=r"label must have shape .* got \(1, 7, 19, 1\)"):
        VisualDepthEstimation().show(
            model, image.numpy(), model.predict(image, 1), np.zeros((1, 7, 19, 1))
        )
