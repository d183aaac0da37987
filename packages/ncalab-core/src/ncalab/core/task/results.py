"""Writers of the predictions of a task."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ncalab.core.model import AbstractNCAModel
from ncalab.core.prediction import Prediction

Array = np.ndarray


@dataclass(frozen=True)
class ValueFormat:
    """Format of files with values of cells, such as depths.

    Attributes:
        counts: Whether as counts of 16 bits in a .png; otherwise exactly, in a .npy.
        unit: Value of one count.
    """

    counts: bool = False
    unit: float = 0.001

    def ending(self, name: str) -> str:
        """Return how the name of the file ends.

        >>> ValueFormat().ending("_depth"), ValueFormat(counts=True).ending("_depth")
        ('_depth.npy', '_depth.png')
        """
        return f"{name}.png" if self.counts else f"{name}.npy"


class ResultFiles(Protocol):
    """The files of one image's prediction; each is called after the image."""

    def restored(self, plane: Array, *, nearest: bool | None = None) -> Array:
        """Bring one value a cell to the size that the image had before it was prepared.

        Args:
            plane: Values, shape ``(W, H)``.
            nearest: Whether to take the nearest value; None: if they are not floating point.
        """

    def save_mask(self, ending: str, mask: Array, classes: int) -> None:
        """Write the class of each pixel, shape ``(W, H)``: black and white, or a palette."""

    def save_values(self, ending: str, values: Array) -> None:
        """Write values, shape ``(W, H)``, in the :class:`ValueFormat` that was asked for.

        Raises:
            ValueError: If one is too large for counts of 16 bits.
        """

    def save_colors(self, ending: str, values: Array) -> None:
        """Write values, shape ``(W, H)``, as colours that span their range."""

    def save_image(self, ending: str, image: Array) -> Path:
        """Write an image, shape ``(W, H, C)``, in [0, 1]; four channels are premultiplied RGBA.

        Returns:
            Path of the file.
        """

    def add_row(self, cells: Sequence[str]) -> None:
        """Add a row to the table of all images, after the image's own path."""


class PredictionWriter(ABC):
    """Writes predictions of one task; the command line creates one for each call.

    Args:
        model: Model that predicts.
        values: How values of cells are written.
    """

    endings: tuple[str, ...] = ()
    """Endings of the files of each image, after the name of the image."""

    table: str | None = None
    """Name of a .csv file with the rows of all images; None for no table."""

    columns: tuple[str, ...] = ()
    """Names of the columns of the table, after that of the image."""

    no_overlay: str | None = None
    """Why no image is tinted by the readout of its cells: "--overlay must be left out for ..."."""

    def __init__(self, model: AbstractNCAModel, values: ValueFormat) -> None:
        self.model, self.values = model, values

    @abstractmethod
    def write(self, prediction: Prediction, files: ResultFiles) -> str:
        """Write the prediction of one image.

        Args:
            prediction: Prediction, a batch of one.
            files: Files of the image.

        Returns:
            What was found, in a few words.

        Raises:
            ValueError: If the prediction cannot be written as asked.
        """
