"""Figures of a segmentation."""

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.viz.arrays import check_images, displayed, layer_shown
from ncalab.viz.figure import add_legend, captions, panel_grid, shrink_text
from ncalab.viz.image_row import show_image_row
from ncalab.viz.images import blend, to_rgb_image
from ncalab.viz.reading import SegmentationReading
from ncalab.viz.style import animator_style_light
from ncalab.viz.visuals.base import MAX_SAMPLES, Visual

Array = np.ndarray

# Okabe and Ito's blue, vermillion and purple.
_MISTAKES = {"missed": "#0072b2", "false": "#d55e00", "wrong class": "#cc79a7"}


class VisualBinaryImageSegmentation(Visual):
    """Show images, predicted and true masks, and mistakes; of one class or of several.

    With one output channel there is one foreground; with K of them there are K classes, of which
    the first is the background.
    """

    def show(
        self,
        model: AbstractNCAModel,
        image: np.ndarray,
        prediction: Prediction,
        label: np.ndarray,
    ) -> Figure:
        """Draw up to 8 samples, and the Dice score of each; of volumes, those of the middle layer.

        Args:
            model: Segmentation model.
            image: Images or states, shape ``(B, C, W, H)``.
            prediction: Its prediction; its ``mask`` is drawn if it has one.
            label: Class of each cell, shape ``(B, W, H)`` or ``(B, 1, W, H)``; numbers that are
                no class mark cells to ignore.

        Returns:
            Figure with a column for each sample.

        Raises:
            ValueError: If image or label has another shape.
        """
        image, prediction, label = layer_shown(model, image, prediction, label)
        images = displayed(check_images(model, image, prediction))
        reading = SegmentationReading(
            model.num_output_channels, getattr(model, "class_names", None)
        )
        masks = reading.planes(prediction)
        truth = reading.truth(label, masks.shape)
        count, style = min(len(images), MAX_SAMPLES), animator_style_light
        shown = list(zip(images, masks, truth, strict=True))[:count]
        names = [*_MISTAKES][: min(reading.classes, 3)]
        rows = {
            "image": [to_rgb_image(picture) for picture, _, _ in shown],
            "predicted": [reading.paint(picture, mask, style) for picture, mask, _ in shown],
            "true": [reading.paint(picture, true, style) for picture, _, true in shown],
            "mistakes": [draw_mistakes(*sample) for sample in shown],
        }
        figure, axes = panel_grid(4, count, masks.shape[1:], extra=0.4)
        for row, (name, pictures) in zip(axes, rows.items(), strict=True):
            show_image_row(row, pictures, label=name)
        scores = [mean_dice(mask, true, reading.classes) for _, mask, true in shown]
        captions(axes[3], [f"Dice {score:.2f}" for score in scores])
        shrink_text(figure, f"{prediction.steps} steps")
        colors = [(name, _MISTAKES[name]) for name in names]
        add_legend(figure, [*reading.legend(), *colors])
        return figure


def draw_mistakes(image: Array, predicted: Array, truth: Array) -> Array:
    """Colour the cells whose class is wrong over a pale image.

    Args:
        image: Shape ``(C, W, H)``, range [0, 1].
        predicted: Classes, shape ``(W, H)``.
        truth: Classes, shape ``(W, H)``; NaN for cells without a label, which count
            as no errors.

    Returns:
        Image, shape ``(W, H, 3)``.
    """
    gray = to_rgb_image(image).mean(axis=-1, keepdims=True)
    pale = np.repeat(0.6 + 0.4 * gray, 3, axis=-1)
    wrong = np.isfinite(truth) & (predicted != truth)
    kinds = {
        "missed": wrong & (predicted == 0),
        "false": wrong & (truth == 0),
        "wrong class": wrong & (predicted > 0) & (truth > 0),
    }
    for name, cells in kinds.items():
        pale = blend(pale, cells, to_rgb(_MISTAKES[name]), opacity=1.0)
    return pale


def mean_dice(predicted: Array, truth: Array, classes: int) -> float:
    """Return the Dice score, the mean over the classes that are there, without the background.

    Args:
        predicted: Classes, shape ``(W, H)``.
        truth: Classes, shape ``(W, H)``; NaN for cells to ignore.
        classes: Number of classes with the background.

    Returns:
        Score in [0, 1]; 1 if nothing is there and nothing was predicted.

    >>> mean_dice(np.array([[1, 1, 0]]), np.array([[1, 0, 0]]), 2)
    0.6666666666666666
    """
    known = np.isfinite(truth)
    scores = []
    for number in range(1, classes):
        one, other = (predicted == number) & known, truth == number
        if size := int(one.sum() + other.sum()):
            scores.append(2 * int((one & other).sum()) / size)
    return float(np.mean(scores)) if scores else 1.0
