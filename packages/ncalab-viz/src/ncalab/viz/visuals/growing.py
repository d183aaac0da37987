"""Figures of a growing model."""

import numpy as np
from matplotlib.figure import Figure

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.viz.arrays import check_images, layer_shown, to_numpy
from ncalab.viz.colors import ERROR_CMAP
from ncalab.viz.figure import panel_grid, shrink_text
from ncalab.viz.image_row import show_image_row
from ncalab.viz.images import to_rgb_image
from ncalab.viz.visuals.base import MAX_SAMPLES, Visual


class VisualGrowing(Visual):
    """Show where a growing model started, what it grew, its target and the error of each cell."""

    def show(
        self,
        model: AbstractNCAModel,
        image: np.ndarray,
        prediction: Prediction,
        label: np.ndarray,
    ) -> Figure:
        """Draw up to 8 samples; of volumes, their middle layer.

        Args:
            model: Growing model.
            image: States that the rollout started from, shape ``(B, C, W, H)``.
            prediction: What it grew.
            label: Target, shape ``(B, image channels, W, H)``, range [0, 1].

        Returns:
            Figure with a column for each sample.

        Raises:
            ValueError: If image or label has another shape.
        """
        image, prediction, label = layer_shown(model, image, prediction, label)
        start, label = check_images(model, image, prediction), to_numpy(label)
        grown = prediction.image_channels_np
        if label.shape != grown.shape:
            raise ValueError(
                f"label must have the shape of the image channels {grown.shape}, got {label.shape}"
            )
        count = min(len(start), MAX_SAMPLES)
        figure, axes = panel_grid(4, count, grown.shape[2:])
        rows = {"start": start, "grown": grown, "target": label}
        for axis, (name, batch) in zip(axes, rows.items(), strict=False):
            show_image_row(axis, [to_rgb_image(sample) for sample in batch[:count]], label=name)
        show_image_row(
            axes[3],
            np.abs(grown[:count] - label[:count]).mean(axis=1),
            vmin=0,
            vmax=0.5,
            cmap=ERROR_CMAP,
            label="error",
            colorbar=True,
            x_index=True,
        )
        shrink_text(figure, f"{prediction.steps} steps")
        return figure
