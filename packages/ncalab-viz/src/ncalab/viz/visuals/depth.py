"""Figures of a depth estimation."""

import numpy as np
from matplotlib.figure import Figure

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.viz.arrays import check_images, displayed
from ncalab.viz.colors import ERROR_CMAP, VALUES_CMAP, color_limits
from ncalab.viz.figure import captions, panel_grid, shrink_text
from ncalab.viz.image_row import show_image_row
from ncalab.viz.images import to_rgb_image
from ncalab.viz.reading import DepthReading
from ncalab.viz.visuals.base import MAX_SAMPLES, Visual


class VisualDepthEstimation(Visual):
    """Show images, estimated and true depths on one scale, and the error of each cell."""

    def show(
        self,
        model: AbstractNCAModel,
        image: np.ndarray,
        prediction: Prediction,
        label: np.ndarray,
    ) -> Figure:
        """Draw up to 8 samples, and the mean absolute error of each.

        Args:
            model: Depth model.
            image: Images or states, shape ``(B, C, W, H)``.
            prediction: Its prediction.
            label: Depths, shape ``(B, W, H)`` or ``(B, 1, W, H)``; values that are NaN or not
                above 0 are unknown, drawn white and counted as no error.

        Returns:
            Figure with a column for each sample.

        Raises:
            ValueError: If image or label has another shape.
        """
        count, reading = min(len(image), MAX_SAMPLES), DepthReading(model)
        images = displayed(check_images(model, image, prediction))[:count]
        depths = reading.planes(prediction)
        truth = reading.truth(label, depths.shape)[:count]
        depths = depths[:count]
        error = reading.error(depths, truth)
        low, high = color_limits(truth if np.isfinite(truth).any() else depths)
        figure, axes = panel_grid(4, count, depths.shape[1:])
        show_image_row(axes[0], [to_rgb_image(picture) for picture in images], label="image")
        # One colour bar for both: they have one scale.
        for row, values, name in ((1, depths, "estimated"), (2, truth, "true")):
            show_image_row(axes[row], values, low, high, VALUES_CMAP, label=name, colorbar=row == 2)
        worst = color_limits(error)[1]
        show_image_row(axes[3], error, 0, worst, ERROR_CMAP, label="error", colorbar=True)
        captions(axes[3], [f"MAE {_mean(values):.3g}" for values in error])
        shrink_text(figure, f"{prediction.steps} steps")
        return figure


def _mean(error: np.ndarray) -> float:
    """Return the mean of the known values, NaN without a warning if there is none."""
    known = error[np.isfinite(error)]
    return float(known.mean()) if known.size else float("nan")
