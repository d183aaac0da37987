"""Readings: one value of each cell of a task's model, and its colour."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.alive import visible_cells
from ncalab.core.task import spec_of
from ncalab.viz.arrays import check_classes, check_planes, to_numpy
from ncalab.viz.colors import class_colors, color_limits, color_values
from ncalab.viz.images import blend, to_rgb_image
from ncalab.viz.labels import class_labels
from ncalab.viz.overlay import tint
from ncalab.viz.style import AnimatorStyle

Array = np.ndarray

# So that the class of a dim cell can be seen.
_LEAST_BRIGHTNESS = 0.4


class Reading(ABC):
    """Reads one value out of each cell. ``limits`` are the values of the end colours."""

    limits: tuple[float, float] = (0.0, 1.0)

    @abstractmethod
    def planes(self, prediction: Prediction) -> Array:
        """Read a prediction.

        Returns:
            Values, shape ``(B, W, H)``, float32; NaN for cells that say nothing.
        """

    @abstractmethod
    def truth(self, label: Any, shape: tuple[int, ...]) -> Array:
        """Return labels in the form of :meth:`planes`; NaN for cells that have none.

        Raises:
            ValueError: If the labels do not fit predictions of ``shape``.
        """

    @abstractmethod
    def paint(self, image: Array, plane: Array, style: AnimatorStyle) -> Array:
        """Show what the cells of an image say.

        Args:
            image: Shape ``(C, W, H)``, range [0, 1].
            plane: Values, shape ``(W, H)``.
            style: Colours of background and overlay.

        Returns:
            Image, shape ``(W, H, 3)``, range [0, 1].
        """

    @abstractmethod
    def error(self, predicted: Array, truth: Array) -> Array:
        """Return the error of each cell, of the same shape; NaN where the truth is not known."""

    def fit(self, planes: Array) -> None:  # noqa: B027 - most readings have no range
        """Set ``limits`` to the range of some values, where colours stand for numbers."""

    def legend(self) -> list[tuple[str, str]]:
        """Return names and colours of what can be said; empty if it is a number."""
        return []


class SegmentationReading(Reading):
    """The class of each cell; 0 is the background.

    Args:
        classes: Number of output channels: 1 is one foreground, K are K classes with background.
        names: Names of the classes, if they have any.
    """

    def __init__(self, classes: int, names: Sequence[str] | None = None) -> None:
        self.classes = max(classes, 2)
        self.names = names

    def planes(self, prediction: Prediction) -> Array:
        """Return the prediction's mask, or else the class of the largest logit (above 0)."""
        mask = getattr(prediction, "mask", None)
        if mask is None:
            logits = prediction.logits
            mask = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
        return to_numpy(mask).astype(np.float32)

    def truth(self, label: Any, shape: tuple[int, ...]) -> Array:
        """Return the labels; a number that is not a class marks a cell without one."""
        label = check_planes("label", label, shape).astype(np.float32)
        return np.where((label >= 0) & (label < self.classes), label, np.nan)

    def paint(self, image: Array, plane: Array, style: AnimatorStyle) -> Array:
        """Tint the cells of each class but the background."""
        return tint(to_rgb_image(image, style.background), plane, self.classes - 1, style)

    def error(self, predicted: Array, truth: Array) -> Array:
        """Return 1 where the class is wrong."""
        return np.where(np.isnan(truth), np.nan, predicted != truth)

    def legend(self) -> list[tuple[str, str]]:
        """Return the classes, if there are several."""
        if self.classes == 2:
            return []
        labels = class_labels(self.names, self.classes)[1:]
        return list(zip(labels, map(to_hex, class_colors(self.classes - 1)), strict=True))


class CellClassReading(Reading):
    """The class that each living cell takes its image to be.

    Source: Randazzo et al., Self-classifying MNIST digits, Distill 2020,
    doi:10.23915/distill.00027.002.

    Args:
        classes: Number of classes.
        names: Names of the classes, if they have any.
    """

    def __init__(self, classes: int, names: Sequence[str] | None = None) -> None:
        self.classes = max(classes, 2)
        self.names = names

    def planes(self, prediction: Prediction) -> Array:
        """Return the class of the largest logit of each living cell."""
        logits = prediction.output_channels
        classes = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
        alive = to_numpy(visible_cells(prediction.image_channels))[:, 0]
        return np.where(alive, to_numpy(classes), np.nan).astype(np.float32)

    def truth(self, label: Any, shape: tuple[int, ...]) -> Array:
        """Return the class of the sample in each cell."""
        classes = check_classes(label, shape[0]).astype(np.float32)
        return np.broadcast_to(classes[:, None, None], shape)

    def paint(self, image: Array, plane: Array, style: AnimatorStyle) -> Array:
        """Colour living cells by class and brightness; cells of colour images are tinted."""
        base = to_rgb_image(image, style.background)
        said = np.isfinite(plane)
        place = np.clip(np.where(said, plane, 0).astype(int), 0, self.classes - 1)
        colors = class_colors(self.classes)[place]
        if len(image) not in (1, 4):
            return blend(base, said, colors)
        bright = np.clip(np.nan_to_num(image[-1]), _LEAST_BRIGHTNESS, 1)[..., None]
        colors = bright * colors + (1 - bright) * np.asarray(style.background)
        return blend(base, said, colors, opacity=1.0)

    def error(self, predicted: Array, truth: Array) -> Array:
        """Return 1 for a living cell that is wrong, NaN for a cell that says nothing."""
        return np.where(np.isnan(predicted), np.nan, predicted != truth)

    def legend(self) -> list[tuple[str, str]]:
        """Return the classes."""
        labels = class_labels(self.names, self.classes)
        return list(zip(labels, map(to_hex, class_colors(self.classes)), strict=True))


class DepthReading(Reading):
    """The depth that each cell estimates.

    Args:
        model: Model whose ``interpret`` gives depths.
    """

    def __init__(self, model: AbstractNCAModel) -> None:
        self.model = model

    def planes(self, prediction: Prediction) -> Array:
        """Return depths in the unit of the labels."""
        return to_numpy(self.model.interpret(prediction)[:, 0]).astype(np.float32)

    def truth(self, label: Any, shape: tuple[int, ...]) -> Array:
        """Return the labels; one that is not above 0 is not a depth."""
        label = check_planes("label", label, shape).astype(np.float32)
        return np.where(np.isfinite(label) & (label > 0), label, np.nan)

    def paint(self, image: Array, plane: Array, style: AnimatorStyle) -> Array:  # noqa: ARG002 - other readouts tint the image
        """Show depths between the limits as colours."""
        return color_values(plane, *self.limits, style.background)

    def error(self, predicted: Array, truth: Array) -> Array:
        """Return the absolute difference."""
        return np.asarray(np.abs(predicted - truth))

    def fit(self, planes: Array) -> None:
        """Set ``limits`` to the range of some depths."""
        self.limits = color_limits(planes)


def reading_of(model: AbstractNCAModel) -> Reading | None:
    """Return how the cells of a model are read.

    Args:
        model: Any model. Output channels of an unknown task are taken for a segmentation.

    Returns:
        The reading; None for models whose cells show an image, or leave it all to a head.
    """
    if model.num_output_channels == 0 or model.head is not None:
        return None
    names = getattr(model, "class_names", None)
    reading = spec_of(model).reading
    if reading == "values":
        return DepthReading(model)
    if reading == "votes":
        return CellClassReading(model.num_output_channels, names)
    return SegmentationReading(model.num_output_channels, names)
