"""Figures of a batch, for TensorBoard."""

from abc import ABC, abstractmethod

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.viz.image_row import show_image_row
from ncalab.viz.images import to_rgb_image

MAX_SAMPLES = 8


def new_figure(width: float, height: float) -> Figure:
    """Create a figure that pyplot does not know of, so that nobody has to close it.

    Args:
        width: In inches.
        height: In inches.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


class Visual(ABC):
    """Base class of the figures that show a batch during training."""

    @abstractmethod
    def show(
        self,
        model: AbstractNCAModel,
        image: np.ndarray,
        prediction: Prediction,
        label: np.ndarray,
    ) -> Figure:
        """Draw a batch.

        Args:
            model: Model that made the prediction.
            image: What it started from, shape ``(B, C, W, H)``; not changed.
            prediction: Its prediction; not changed.
            label: Ground truth, batch first; not changed.

        Returns:
            Figure; not registered with pyplot.
        """


class VisualGrowing(Visual):
    """Show where a growing model started, what it grew, its target and the error of each cell."""

    def show(
        self,
        model: AbstractNCAModel,
        image: np.ndarray,
        prediction: Prediction,
        label: np.ndarray,
    ) -> Figure:
        """Draw up to 8 samples.

        Args:
            model: Growing model.
            image: States that the rollout started from, shape ``(B, C, W, H)``.
            prediction: What it grew.
            label: Target, shape ``(B, image channels, W, H)``, range [0, 1].

        Returns:
            Figure with a column for each sample.
        """
        count = min(len(image), MAX_SAMPLES)
        grown, start = prediction.image_channels_np, image[:, : model.num_image_channels]
        error = np.abs(grown - label).mean(axis=1)
        figure = new_figure(1.5 * count + 1.0, 6.5)
        axes = figure.subplots(4, count, squeeze=False)
        rows = {"start": start, "grown": grown, "target": label}
        for axis, (name, batch) in zip(axes, rows.items(), strict=False):
            show_image_row(axis, [to_rgb_image(sample) for sample in batch[:count]], label=name)
        show_image_row(
            axes[3],
            error[:count],
            vmin=0,
            vmax=0.5,
            cmap="magma",
            label="error",
            colorbar=True,
            x_index=True,
        )
        figure.suptitle(f"{prediction.steps} steps")
        return figure
