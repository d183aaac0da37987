"""Write depths to files."""

import numpy as np

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.task import PredictionWriter, ResultFiles, ValueFormat


class DepthWriter(PredictionWriter):
    """Writes the depth of each pixel, exact or as 16-bit counts, and as a coloured picture."""

    no_overlay = "depth, whose coloured picture is always written"

    def __init__(self, model: AbstractNCAModel, values: ValueFormat) -> None:
        super().__init__(model, values)
        self.endings = (values.ending("_depth"), "_depth_color.png")

    def write(self, prediction: Prediction, files: ResultFiles) -> str:
        """Write the depths; return their range and median."""
        plane = self.model.interpret(prediction)[0, 0].detach().float().cpu().numpy()
        depth = files.restored(plane)
        values, colors = self.endings
        files.save_values(values, depth)
        files.save_colors(colors, depth)
        return f"depth {depth.min():.4g} to {depth.max():.4g}, median {np.median(depth):.4g}"
