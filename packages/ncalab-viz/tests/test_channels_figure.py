from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from viz_models import SegmentationModel, make, make_fading, random_images, state_of

from ncalab.core.perception import fixed_filters
from ncalab.viz import plot_filters, plot_hidden_channels


@pytest.mark.parametrize("use_laplace", [False, True])
def test_fixed_filters_are_shown_once_by_name(use_laplace: bool) -> None:
    model = make(SegmentationModel, 3, 4, 1, use_laplace=use_laplace)

    figure = plot_filters(model)
    figure.canvas.draw()

    filters = fixed_filters(use_laplace=use_laplace).numpy()
    panels = figure.axes[: len(filters)]
    for axis, want in zip(panels, filters, strict=True):
        np.testing.assert_array_equal(np.asarray(axis.get_images()[0].get_array()), want)
    assert [axis.get_title() for axis in panels][:2] == ["Sobel, along H", "Sobel, along W"]


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_learned_filters_have_a_row_each_and_a_column_for_each_channel(channels: int) -> None:
    model = make(SegmentationModel, channels, 1, 1, num_learned_filters=2, kernel_size=5)

    figure = plot_filters(model)
    figure.canvas.draw()

    columns = channels + 2
    titles = [axis.get_title() for axis in figure.axes[:columns]]
    assert titles[0] == "image 0" and titles[-2:] == ["hidden 0", "output 0"]
    for place, axis in enumerate(figure.axes[: 2 * columns]):
        perception: Any = model.perception
        kernel = perception.filters[place // columns, place % columns].detach().numpy()
        image = axis.get_images()[0]
        np.testing.assert_array_equal(np.asarray(image.get_array()), kernel)
        assert image.get_clim()[0] == -image.get_clim()[1]  # white is zero


def test_only_the_first_channels_are_shown() -> None:
    model = make(SegmentationModel, 3, 40, 1, num_learned_filters=1)

    assert len(plot_filters(model, max_channels=5).axes) == 5 + 1  # and the colour bar


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("hidden", [1, 5, 12])
def test_every_hidden_channel_is_shown(batch: int, hidden: int, keep: Callable[[Any], Any]) -> None:
    model = make(SegmentationModel, 3, hidden, 1)
    prediction = model.predict(state_of(model, random_images(batch, 3)), 1)
    keep(prediction.output_image)

    figure = plot_hidden_channels(prediction, batch - 1)
    figure.canvas.draw()

    shown = [axis for axis in figure.axes if axis.get_title().startswith("hidden")]
    assert [axis.get_title() for axis in shown] == [f"hidden {i}" for i in range(hidden)]
    for axis, want in zip(shown, prediction.hidden_channels_np[-1], strict=True):
        np.testing.assert_array_equal(np.asarray(axis.get_images()[0].get_array()), want)


def test_hidden_channels_of_zero_are_white() -> None:
    prediction = make_fading(1, 4, fire_rate=0.0).predict(torch.zeros(1, 1, 7, 19), 1)

    figure = plot_hidden_channels(prediction)
    figure.canvas.draw()

    assert figure.axes[0].get_images()[0].get_clim() == (-1, 1)


def test_bad_arguments_are_named() -> None:
    prediction = make_fading(1, 2).predict(torch.zeros(1, 1, 7, 19), 1)
    without = make_fading(1, 0).predict(torch.zeros(1, 1, 7, 19), 1)

    with pytest.raises(ValueError, match=r"sample must be in \[0, 1\) .* got 1"):
        plot_hidden_channels(prediction, 1)
    with pytest.raises(ValueError, match="prediction must have hidden channels, got none"):
        plot_hidden_channels(without)
    with pytest.raises(ValueError, match="max_channels must be at least 1, got 0"):
        plot_filters(make_fading(), max_channels=0)
    with pytest.raises(ValueError, match="nca must have perception filters, got a Linear"):
        plot_filters(torch.nn.Linear(1, 1))  # type: ignore[arg-type]  # the fault under test
