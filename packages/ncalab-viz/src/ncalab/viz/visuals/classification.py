"""Figures of a classification."""

import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.viz.arrays import check_classes, check_images, displayed, layer_shown, to_numpy
from ncalab.viz.figure import SMALL, add_legend, panel_grid, shrink_text
from ncalab.viz.image_row import show_image_row
from ncalab.viz.images import to_rgb_image
from ncalab.viz.labels import class_labels
from ncalab.viz.reading import reading_of
from ncalab.viz.style import AnimatorStyle, animator_style_dark, animator_style_light
from ncalab.viz.visuals.base import MAX_SAMPLES, Visual

Array = np.ndarray

_BARS = 3
# Pale, so that names can be read on them.
_RIGHT, _OTHER = "#66c5ab", "#d0d0d0"


class VisualImageClassification(Visual):
    """Show images, what their cells say, and the likeliest classes of each.

    The panel is the one for the model's number of image channels: that of
    :class:`VisualBinaryImageClassification` for one, else :class:`VisualRGBImageClassification`.
    """

    style: AnimatorStyle | None = None
    """Colours of the panel; None for those that fit the number of channels."""

    def show(
        self,
        model: AbstractNCAModel,
        image: np.ndarray,
        prediction: Prediction,
        label: np.ndarray,
    ) -> Figure:
        """Draw up to 8 samples; of volumes, their middle layer.

        Args:
            model: Classification model.
            image: Images or states, shape ``(B, C, W, H)``.
            prediction: Its prediction, of whole images or of cells.
            label: Class of each image, shape ``(B,)`` or ``(B, 1)``.

        Returns:
            Figure with a column for each sample.

        Raises:
            ValueError: If image or label has another shape.
        """
        image, prediction, label = layer_shown(model, image, prediction, label)
        images = check_images(model, image, prediction)
        truth = check_classes(label, len(images))
        shares, cells = class_shares(model, prediction)
        gray = model.num_image_channels == 1
        style = self.style or (animator_style_dark if gray else animator_style_light)
        count = min(len(images), MAX_SAMPLES)
        images = displayed(images)[:count]
        rows = {"image": [to_rgb_image(picture, style.background) for picture in images]}
        reading, legend = reading_of(model), []
        if cells is not None and reading is not None:
            pairs = zip(images, cells, strict=False)
            rows["cells"] = [reading.paint(*pair, style) for pair in pairs]
            legend = reading.legend()
        names = class_labels(getattr(model, "class_names", None), shares.shape[1], 12)
        figure, axes = panel_grid(len(rows) + 1, count, images.shape[2:], extra=0.3)
        for row, (name, pictures) in zip(axes, rows.items(), strict=False):
            show_image_row(row, pictures, label=name)
        for place, axis in enumerate(axes[-1]):
            _draw_bars(axis, shares[place], int(truth[place]), names)
            right = shares[place].argmax() == truth[place]
            axes[0, place].set_title("✓" if right else "✗", fontsize=SMALL + 2)
        shrink_text(figure, f"{prediction.steps} steps")
        add_legend(figure, legend)
        return figure


class VisualBinaryImageClassification(VisualImageClassification):
    """Show images of one channel, light on dark, what their cells say, and likely classes."""

    style = animator_style_dark


class VisualRGBImageClassification(VisualImageClassification):
    """Show images in colour, on white, what their cells say, and likely classes."""

    style = animator_style_light


class VisualMultiImageClassification(Visual):
    """Old name: constructing it warns, and gives a :class:`VisualRGBImageClassification`."""

    new_instance = VisualRGBImageClassification
    """Instance that is constructed instead."""

    def __new__(cls) -> VisualRGBImageClassification:  # type: ignore[misc]  # an alias
        """Return the new class's instance."""
        warnings.warn(
            "VisualMultiImageClassification is deprecated; use VisualRGBImageClassification",
            DeprecationWarning,
            stacklevel=2,
        )
        return cls.new_instance()


def class_shares(model: AbstractNCAModel, prediction: Prediction) -> tuple[Array, Array | None]:
    """Return how much speaks for each class.

    Args:
        model: Classification model.
        prediction: Its prediction.

    Returns:
        The share of each class, shape ``(B, K)``: its probability, or for cells that decide each
        for itself its share of the living cells' votes; and what the cells
        say, shape ``(B, W, H)``, NaN for dead ones, or None if they say nothing.
    """
    reading = reading_of(model)
    cells = None if reading is None else reading.planes(prediction)
    shares = np.nan_to_num(to_numpy(model.interpret(prediction)))
    if shares.ndim == 4 and cells is not None:
        votes = [(cells == k).sum(axis=(1, 2)) for k in range(max(shares.shape[1], 2))]
        counts = np.stack(votes, axis=1)
        return counts / counts.sum(axis=1, keepdims=True), cells
    if shares.shape[1] == 1:
        # One score says how likely the second of two classes is.
        shares = np.concatenate([1 - shares, shares], axis=1)
    return shares, cells


def _draw_bars(axis: Axes, shares: Array, truth: int, names: Sequence[str]) -> None:
    """Draw the likeliest classes as bars, the true one in colour."""
    best = np.argsort(-shares, kind="stable")[:_BARS]
    heights = range(len(best))
    colors = [_RIGHT if number == truth else _OTHER for number in best]
    axis.barh(heights, shares[best], color=colors, height=0.85)
    for height, number in zip(heights, best, strict=True):
        text = f"{names[number]}  {shares[number]:.0%}"
        axis.text(0.03, height, text, va="center", fontsize=SMALL - 1)
    axis.set(xlim=(0, 1), ylim=(_BARS - 0.4, -0.6), xticks=[], yticks=[])
    known = names[truth] if 0 <= truth < len(names) else str(truth)
    axis.set_xlabel(f"is {known}")
