"""Base of the figures of training batches."""

from abc import ABC, abstractmethod

import numpy as np
from matplotlib.figure import Figure

from ncalab.core import AbstractNCAModel, Prediction

MAX_SAMPLES = 8
"""Number of samples of a batch that are drawn."""


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
        """Draw a batch, up to 8 samples of it.

        Args:
            model: Model that made the prediction.
            image: What it started from, images or states, shape ``(B, C, W, H)``; not changed.
            prediction: Its prediction; not changed.
            label: Ground truth, batch first; not changed.

        Returns:
            Figure with a column for each sample; not registered with pyplot.

        Raises:
            ValueError: If images or labels do not have the shape that the task documents.
        """
