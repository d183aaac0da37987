"""Write a grown image to a file."""

import numpy as np

from ncalab.core import Prediction
from ncalab.core.alive import ALIVE_THRESHOLD
from ncalab.core.task import PredictionWriter, ResultFiles


class GrownImageWriter(PredictionWriter):
    """Writes the image that the cells show."""

    endings = ("_grown.png",)

    def write(self, prediction: Prediction, files: ResultFiles) -> str:
        """Write the image; return how many cells are alive."""
        image = np.clip(np.moveaxis(prediction.image_channels_np[0], 0, -1), 0, 1)
        file = files.save_image("_grown.png", image)
        alive = (image[..., -1] > ALIVE_THRESHOLD).mean()
        return f"{prediction.steps} steps, {alive:.1%} of the cells alive, {file}"
