from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from viz_models import (
    CellClassModel,
    DepthModel,
    SegmentationModel,
    make,
    make_fading,
    make_head,
    random_images,
    state_of,
)

from ncalab.core import AbstractNCAModel
from ncalab.viz import plot_uncertainty


def shown(figure: Figure, row: int) -> np.ndarray:
    """Return the image in a row of a figure of one sample."""
    return np.asarray(figure.axes[row].get_images()[0].get_array())


def labelled(
    kind: type[AbstractNCAModel] | str, channels: int, batch: int
) -> tuple[AbstractNCAModel, np.ndarray]:
    """Return a model of a kind, and labels for it."""
    rng = np.random.default_rng(0)
    if kind == "growing":
        return make_fading(channels), rng.random((batch, channels, 7, 19))
    if kind == "head":
        return make_head(channels, 4), rng.integers(0, 4, batch)
    assert not isinstance(kind, str)
    model = make(kind, channels, 2, 1 if kind is DepthModel else 3)
    if kind is CellClassModel:
        return model, rng.integers(0, 3, (batch, 1))
    return model, rng.integers(1, 3, (batch, 7, 19)).astype(float)


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize(
    ("kind", "rows"),
    [
        (SegmentationModel, 4),
        (CellClassModel, 4),
        (DepthModel, 4),
        ("growing", 4),
        ("head", 2),
    ],
)
def test_a_batch_is_drawn_and_nothing_changed(
    kind: Any, rows: int, channels: int, batch: int, keep: Callable[[Any], Any]
) -> None:
    model, label = labelled(kind, channels, batch)
    image = keep(random_images(batch, channels))
    prediction = model.predict(state_of(model, image), 1)
    keep(prediction.output_image)
    heatmap = keep(torch.rand(batch, 3, 7, 19))

    figure = plot_uncertainty(model, image, prediction, heatmap, keep(label))
    figure.canvas.draw()

    assert len(figure.axes) == rows * batch


def test_the_uncertainty_and_the_error_are_what_they_were() -> None:
    model = make(SegmentationModel, 1, 0, 1)
    image = torch.zeros(1, 1, 1, 3)
    state = state_of(model, image, torch.tensor([[[[5.0, 5.0, -5.0]]]]))
    heatmap = torch.tensor([[[[0.1, 0.4, 0.2]], [[0.3, 0.0, 0.0]]]])

    figure = plot_uncertainty(
        model, image, model.predict(state, 1), heatmap, np.array([[[1, 0, 255]]])
    )

    np.testing.assert_allclose(shown(figure, 2), [[0.2, 0.2, 0.1]], rtol=1e-6)
    assert np.nan_to_num(np.ma.filled(shown(figure, 3), np.nan), nan=9).tolist() == [[0, 1, 9]]
    assert figure.axes[3].get_xlabel() == "mean uncertainty 0.167"
    assert [axis.get_ylabel() for axis in figure.axes[:4]] == [
        "image",
        "predicted",
        "uncertainty",
        "error",
    ]


def test_without_labels_there_are_no_errors() -> None:
    model = make(DepthModel, 3, 0, 1)
    image = random_images(2, 3)

    figure = plot_uncertainty(model, image, model.predict(image, 1), np.zeros((2, 7, 19)))
    figure.canvas.draw()

    assert len(figure.axes) == 3 * 2


@pytest.mark.parametrize("shape", [(2,), (2, 4)])
def test_the_uncertainty_of_whole_images_stands_below_them(shape: tuple[int, ...]) -> None:
    model = make_head(3, 4)
    image = random_images(2, 3)
    state = state_of(model, image)
    state[:, 3:] = 0.0
    state[:, 4] = np.log(7)

    figure = plot_uncertainty(
        model, image, model.predict(state, 1), np.full(shape, 0.25), np.array([1, 2])
    )

    assert [axis.get_xlabel() for axis in figure.axes] == ["mean uncertainty 0.25"] * 2
    assert [axis.get_title() for axis in figure.axes] == ["1 70% ✓", "1 70% ✗"]


@pytest.mark.parametrize("shape", [(7, 19), (3, 7, 19), (2, 19, 7), (2, 3, 7, 18), (3,)])
def test_a_heat_map_of_another_shape_is_named(shape: tuple[int, ...]) -> None:
    model = make(DepthModel, 3, 0, 1)
    image = random_images(2, 3)

    with pytest.raises(ValueError, match=r"heatmap must have shape .* \(2, 7, 19\), got"):
        plot_uncertainty(model, image, model.predict(image, 1), np.zeros(shape))
