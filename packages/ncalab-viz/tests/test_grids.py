"""Drawings of grids of other than two axes: the middle layer of a volume, or an error."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from viz_models import PlainModel, SegmentationModel, make, make_fading, make_head, state_of

from ncalab.core import AbstractNCAModel
from ncalab.viz import (
    Animator,
    Visual,
    VisualBinaryImageSegmentation,
    VisualGrowing,
    VisualRGBImageClassification,
    export_html,
    plot_filters,
    plot_hidden_channels,
    plot_rollout,
    plot_uncertainty,
)
from ncalab.viz.arrays import layer_shown

GRID = (6, 5, 4)


def pictures(figure: Any) -> list[np.ndarray]:
    return [np.asarray(image.get_array()) for axis in figure.axes for image in axis.images]


def test_of_a_volume_the_middle_layer_is_taken() -> None:
    model = make(SegmentationModel, 1, 2, 1, spatial_dims=3)
    x = state_of(model, torch.rand(2, 1, *GRID))
    label = np.arange(2 * 6 * 5 * 4).reshape(2, *GRID)

    image, prediction, true = layer_shown(model, x, model.predict(x, 1), label)

    np.testing.assert_array_equal(image, x[..., 2])
    assert torch.equal(prediction.output_image, x[..., 2])
    assert torch.equal(prediction.logits, x[:, -1:, ..., 2])
    assert prediction.steps == 1
    np.testing.assert_array_equal(true, label[..., 2])


def test_pictures_stay_what_they_are() -> None:
    model = make_fading(1)
    x = torch.rand(1, model.num_channels, 4, 4)
    prediction, label = model.predict(x, 1), np.zeros((1, 1, 4, 4))

    assert layer_shown(model, x, prediction, label) == (x, prediction, label)


@pytest.mark.parametrize("kind", ["growing", "segmentation", "classification"])
def test_figures_of_a_training_draw_the_middle_layer(kind: str) -> None:
    visual: Visual
    model: AbstractNCAModel
    if kind == "growing":
        model = make_fading(3, spatial_dims=3)
        visual, label = VisualGrowing(), np.zeros((2, 3, *GRID))
    elif kind == "segmentation":
        model = make(SegmentationModel, 1, 2, 1, spatial_dims=3)
        visual, label = VisualBinaryImageSegmentation(), np.zeros((2, *GRID))
    else:
        model = make_head(spatial_dims=3)
        visual, label = VisualRGBImageClassification(), np.array([0, 3])
    x = torch.rand(2, model.num_channels, *GRID)

    shown = pictures(visual.show(model, x.numpy(), model.predict(x, 1), label))

    assert shown and all(picture.shape[:2] == GRID[:2] for picture in shown)


def test_a_segmentation_is_scored_on_the_layer_that_is_drawn() -> None:
    model = make(SegmentationModel, 1, 2, 1, spatial_dims=3)
    x = torch.full((1, 4, *GRID), -1.0)
    x[:, -1, :3, :, 2] = 1.0
    label = np.zeros((1, *GRID), int)
    label[..., 2] = (x[0, -1, ..., 2] > 0).numpy()
    label[..., 0] = 1  # wrong, but not drawn

    figure = VisualBinaryImageSegmentation().show(model, x.numpy(), model.predict(x, 1), label)

    assert "Dice 1.00" in [axis.get_xlabel() or axis.get_title() for axis in figure.axes]


def test_hidden_channels_of_a_volume_are_those_of_the_middle_layer() -> None:
    model = make_fading(1, 1, spatial_dims=3)
    x = torch.rand(1, 2, *GRID)
    prediction = model.predict(x, 1)

    (shown,) = pictures(plot_hidden_channels(prediction))[:1]

    np.testing.assert_allclose(shown, prediction.hidden_channels_np[0, 0, ..., 2])


@pytest.mark.parametrize("heatmap", [(2, 1, *GRID), (2, *GRID), (2, 1, 1, 1, 1), (2, 1)])
def test_uncertainties_of_volumes_are_drawn(heatmap: tuple[int, ...]) -> None:
    model = make(SegmentationModel, 1, 2, 1, spatial_dims=3)
    x = state_of(model, torch.rand(2, 1, *GRID))

    figure = plot_uncertainty(model, x, model.predict(x, 1), torch.rand(heatmap))

    assert all(picture.shape[:2] == GRID[:2] for picture in pictures(figure))


DRAWN: dict[str, Callable[[AbstractNCAModel, torch.Tensor], object]] = {
    "animation": Animator,
    "rollout": plot_rollout,
    "filters": lambda model, x: plot_filters(model),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("dims", [1, 3])
def test_grids_that_cannot_be_drawn_are_named(name: str, dims: int) -> None:
    model = make_fading(1, spatial_dims=dims)

    message = f"nca must have a grid of two axes to be drawn, got spatial_dims = {dims}"
    with pytest.raises(ValueError, match=message):
        DRAWN[name](model, torch.rand(1, model.num_channels, *GRID[:dims]))


def test_lines_of_cells_are_not_drawn() -> None:
    model = make_fading(1, spatial_dims=1)
    x = torch.rand(1, model.num_channels, 6)

    with pytest.raises(ValueError, match="must have a grid of two axes to be drawn"):
        VisualGrowing().show(model, x.numpy(), model.predict(x, 1), np.zeros((1, 1, 6)))
    with pytest.raises(ValueError, match="must have a grid of two axes to be drawn"):
        plot_hidden_channels(model.predict(x, 1))


@pytest.mark.parametrize("dims", [1, 3])
def test_a_page_names_the_grid_that_it_cannot_run(dims: int, tmp_path: Path) -> None:
    model = PlainModel(torch.device("cpu"), 1, 2, 1, spatial_dims=dims)

    with pytest.raises(ValueError, match=f"but the grid has {dims} axes"):
        export_html(model, tmp_path / "page.html")
