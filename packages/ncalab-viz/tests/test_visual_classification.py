from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from viz_models import CellClassModel, make, make_head, random_images, state_of

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.viz import (
    Visual,
    VisualBinaryImageClassification,
    VisualImageClassification,
    VisualMultiImageClassification,
    VisualRGBImageClassification,
)
from ncalab.viz.colors import class_colors
from ncalab.viz.visuals.classification import class_shares

PANELS = [
    VisualImageClassification,
    VisualBinaryImageClassification,
    VisualRGBImageClassification,
]


def bars(figure: Figure, place: int) -> list[float]:
    """Return the widths of the bars in some axes."""
    return [patch.get_width() for patch in figure.axes[place].patches]  # type: ignore[attr-defined]  # bars are rectangles


@pytest.mark.parametrize("panel", PANELS)
@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("cells", [True, False])
def test_a_batch_is_drawn_and_nothing_changed(
    panel: type[Visual], batch: int, channels: int, cells: bool, keep: Callable[[Any], Any]
) -> None:
    model = make(CellClassModel, channels, 2, 4) if cells else make_head(channels)
    image = keep(random_images(batch, channels).numpy())
    label = keep(np.arange(batch) % 4)
    prediction = model.predict(state_of(model, torch.from_numpy(image)), 1)
    keep(prediction.output_image)

    figure = panel().show(model, image, prediction, label)
    figure.canvas.draw()

    assert len(figure.axes) == (3 if cells else 2) * batch


@pytest.mark.parametrize("channels", [1, 4])
def test_the_panel_is_that_of_the_number_of_channels(channels: int) -> None:
    model = make(CellClassModel, channels, 0, 3)
    image = random_images(1, channels)
    prediction = model.predict(image, 1)

    auto, dark, light = (
        np.asarray(
            panel()
            .show(model, image.numpy(), prediction, np.array([0]))
            .axes[1]
            .get_images()[0]
            .get_array()
        )
        for panel in PANELS
    )

    assert not np.array_equal(dark, light)
    np.testing.assert_array_equal(auto, dark if channels == 1 else light)


def test_bars_are_the_probabilities_and_a_mark_says_who_is_right() -> None:
    model = make_head(3, 4)
    state = state_of(model, random_images(2, 3))
    state[:, 3:] = 0
    state[:, 5] = np.log(7)  # class 2: 7 of 10
    state[1, 6] = np.log(5)  # class 3: 5 of 14, less than class 2
    prediction = model.predict(state, 1)

    figure = VisualRGBImageClassification().show(
        model, state.numpy(), prediction, np.array([[2], [3]])
    )

    assert bars(figure, 2) == pytest.approx([0.7, 0.1, 0.1], abs=1e-6)
    assert bars(figure, 3) == pytest.approx([0.5, 5 / 14, 1 / 14], abs=1e-6)
    assert [figure.axes[place].get_title() for place in (0, 1)] == ["✓", "✗"]
    assert [figure.axes[place].get_xlabel() for place in (2, 3)] == ["is 2", "is 3"]


def cell_prediction() -> tuple[AbstractNCAModel, np.ndarray, Prediction]:
    """Return a prediction of four living cells, three of which vote for class 1, one for 0."""
    model = make(CellClassModel, 1, 0, 3)
    image = torch.zeros(1, 1, 3, 3)
    image[0, 0, 0, 0] = image[0, 0, 1] = 1.0
    output = torch.zeros(1, 3, 3, 3)
    output[0, 2] = 50.0  # what dead cells say has no weight
    output[0, 1, 1], output[0, 0, 0, 0] = 60.0, 60.0
    return model, image.numpy(), model.predict(state_of(model, image, output), 1)


def test_the_share_of_a_class_is_that_of_the_living_cells_votes() -> None:
    model, _, prediction = cell_prediction()

    shares, cells = class_shares(model, prediction)

    assert shares.tolist() == [[0.25, 0.75, 0.0]]
    assert cells is not None
    assert np.nan_to_num(cells[0], nan=9).tolist() == [[0, 9, 9], [1, 1, 1], [9, 9, 9]]


def test_living_cells_have_the_colours_of_their_classes() -> None:
    model, image, prediction = cell_prediction()

    figure = VisualImageClassification().show(model, image, prediction, np.array([1]))

    cells = np.asarray(figure.axes[1].get_images()[0].get_array())
    colors = class_colors(3)
    np.testing.assert_allclose(cells[0, 0], colors[0])
    np.testing.assert_allclose(cells[1], [colors[1]] * 3)
    assert cells[0, 1:].max() == cells[2].max() == 0


def test_one_score_says_how_likely_the_second_class_is() -> None:
    model = make_head(1, 1)
    state = state_of(model, random_images(1, 1))
    state[:, 1] = np.log(4)

    shares, _ = class_shares(model, model.predict(state, 1))

    np.testing.assert_allclose(shares, [[0.2, 0.8]], rtol=1e-6)


def test_names_of_classes_are_written() -> None:
    model = make_head(1, 2)
    model.class_names = ["trousers", "a very long name"]  # type: ignore[assignment]  # the task's own attribute
    image = random_images(1, 1)

    figure = VisualImageClassification().show(
        model, image.numpy(), model.predict(image, 1), np.array([1])
    )

    texts = [text.get_text() for text in figure.axes[1].texts]
    assert sorted(text.split("  ")[0] for text in texts) == ["a very long…", "trousers"]


def test_the_old_name_warns_and_gives_the_new_class() -> None:
    with pytest.warns(DeprecationWarning, match="use VisualRGBImageClassification"):
        visual = VisualMultiImageClassification()  # type: ignore[abstract]  # it makes another

    assert type(visual) is VisualRGBImageClassification
    assert VisualMultiImageClassification.new_instance is VisualRGBImageClassification


def test_a_label_of_another_shape_is_named() -> None:
    model = make_head(1)
    image = random_images(2, 1)

    with pytest.raises(ValueError, match=r"label must have shape \(B,\) or \(B, 1\)"):
        VisualImageClassification().show(
            model, image.numpy(), model.predict(image, 1), np.zeros((2, 4))
        )
