"""Find the picture of a task without knowing who draws it."""

import logging
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction

logger = logging.getLogger(__name__)

GROUP = "ncalab.visuals"
"""Entry-point group: task name to a class without constructor arguments."""

PLOTS = "ncalab.plots"
"""Entry-point group: what is drawn ("history", "uncertainty") to a function that draws it."""


class Visual(Protocol):
    """Draws a batch."""

    def show(
        self,
        model: AbstractNCAModel,
        image: np.ndarray,
        prediction: Prediction,
        label: np.ndarray,
    ) -> Any:
        """Return a matplotlib figure of images ``(B, C, W, H)``, prediction and labels."""


class Estimator(Protocol):
    """Estimates the uncertainty of a model; ncalab-uncertainty has estimators.

    It may have a method ``check()``, which raises unless it can estimate the predictions that the
    model makes by default.
    """

    nca: AbstractNCAModel

    def estimate(self, image: Tensor) -> tuple[Tensor, Sequence[Prediction], Tensor]:
        """Return heat maps of images ``(B, C, W, H)``, predictions (the final one last), scores."""


def find_plot(name: str) -> Callable[..., Any]:
    """Return the function that draws what is called ``name``, of an installed package.

    Raises:
        ImportError: If no installed package offers one.
    """
    for entry_point in entry_points(group=PLOTS, name=name):
        found: Callable[..., Any] = entry_point.load()
        return found
    raise ImportError(
        f"a package that draws {name!r} is needed, and none is installed: install ncalab-viz"
    )


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
