"""Find the picture of a task without knowing who draws it."""

import logging
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np

from ncalab.core import AbstractNCAModel, Prediction

logger = logging.getLogger(__name__)

GROUP = "ncalab.visuals"
"""Entry-point group: task name to a class without constructor arguments."""


class Visual(Protocol):
    """What draws a batch."""

    def show(
        self,
        model: AbstractNCAModel,
        image: np.ndarray,
        prediction: Prediction,
        label: np.ndarray,
    ) -> Any:
        """Return a matplotlib figure of images ``(B, C, W, H)``, prediction and labels."""


def find_visual(model: AbstractNCAModel) -> Visual | None:
    """Return the model's own visual, else the one that an installed package offers for its task.

    Args:
        model: Model whose ``plot_function`` and ``task`` are asked.

    Returns:
        The visual; None, with a line in the log, if there is none.
    """
    if model.plot_function is not None:
        own: Visual = model.plot_function
        return own
    for entry_point in entry_points(group=GROUP, name=model.task):
        found: Visual = entry_point.load()()
        return found
    logger.info(
        "no figures: no installed package offers a visual for task %r (ncalab-viz has some)",
        model.task,
    )
    return None
