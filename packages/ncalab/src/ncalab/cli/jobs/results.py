"""The files that predictions are written to."""

import csv
import io
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ncalab.cli.jobs.given import Given
from ncalab.cli.jobs.pixels import depth_counts, mask_image, straight, write_array, write_png
from ncalab.core import AbstractNCAModel, Prediction, Preparation
from ncalab.core.saving import atomic_write
from ncalab.core.task import PredictionWriter, ValueFormat, all_tasks, spec_of
from ncalab.viz import animator_styles
from ncalab.viz.arrays import displayed
from ncalab.viz.colors import color_limits, color_values
from ncalab.viz.images import to_bytes
from ncalab.viz.reading import reading_of

Array = np.ndarray

# What has no colour in the file: outside of the figure, or unknown.
_STYLE = animator_styles["dark"]


@dataclass
class ImageFiles:
    """The files of one image's prediction, in the size that the image had before it was prepared.

    Attributes:
        folder: Where to write.
        name: What the files are called.
        given: The image.
        values: How values of cells are written.
        rows: Rows of the table of all images that were added.
    """

    folder: Path
    name: str
    given: Given
    values: ValueFormat
    rows: list[list[str]] = field(default_factory=list)

    def path(self, ending: str) -> Path:
        """Return the path of a file."""
        return self.folder / f"{self.name}{ending}"

    def restored(self, plane: Array, *, nearest: bool | None = None) -> Array:
        """Bring one value a cell, shape ``(W, H)``, to the size of the image as it was given."""
        tensor = torch.from_numpy(np.ascontiguousarray(plane))
        return np.asarray(Preparation().restore(tensor, self.given.size, nearest=nearest))

    def save_mask(self, ending: str, mask: Array, classes: int) -> None:
        """Write classes as a picture."""
        write_png(self.path(ending), mask_image(mask, classes))

    def save_values(self, ending: str, values: Array) -> None:
        """Write values exactly, or as counts of 16 bits."""
        if self.values.counts:
            self._save(ending, depth_counts(values, self.values.unit))
        else:
            write_array(self.path(ending), values)

    def save_colors(self, ending: str, values: Array) -> None:
        """Write values as colours that span their range."""
        colors = color_values(values, *color_limits(values), _STYLE.background)
        self._save(ending, to_bytes(colors))

    def save_image(self, ending: str, image: Array) -> Path:
        """Write an image as files have it, colours not multiplied by their opacity."""
        self._save(ending, to_bytes(straight(image)))
        return self.path(ending)

    def save_state(self, ending: str, state: Array) -> None:
        """Write all channels of the cells, shape ``(C, W, H)``, channels last."""
        write_array(self.path(ending), np.moveaxis(state, 0, -1))

    def add_row(self, cells: Sequence[str]) -> None:
        """Add a row to the table of all images."""
        self.rows.append(list(cells))

    def _save(self, ending: str, pixels: Array) -> None:
        write_png(self.path(ending), Image.fromarray(pixels))


class Results:
    """Writes the predictions of a model as its task describes.

    Args:
        model: The model.
        folder: Where to write.
        writer: Writer of the task.
        overlay: Whether to write tinted images, too.
        save_state: Whether to write all channels, too.

    Raises:
        ValueError: If the cells of the model say nothing that an image could be tinted by.
    """

    def __init__(
        self,
        model: AbstractNCAModel,
        folder: Path,
        writer: PredictionWriter,
        *,
        overlay: bool,
        save_state: bool,
    ) -> None:
        self.model, self.folder, self.writer = model, folder, writer
        self.overlay, self.save_state = overlay, save_state
        self.reading = reading_of(model)
        self.rows: list[list[str]] = []
        if overlay and writer.no_overlay is not None:
            raise ValueError(f"--overlay must be left out for {writer.no_overlay}")
        if overlay and self.reading is None:
            raise ValueError(
                "--overlay must be left out for a model whose cells say nothing about the task, "
                f"such as this {type(model).__name__}"
            )

    @property
    def table(self) -> Path | None:
        """The file with a row for each image; None if there is none."""
        return None if self.writer.table is None else self.folder / self.writer.table

    def files(self, names: Collection[str]) -> list[Path]:
        """Return the files that will be written for images of these names."""
        endings = self._endings()
        files = [self.folder / f"{name}{ending}" for name in names for ending in endings]
        return files if self.table is None else [self.table, *files]

    def _endings(self) -> list[str]:
        overlay = ["_overlay.png"] if self.overlay else []
        return [*self.writer.endings, *overlay, *(["_state.npy"] if self.save_state else [])]

    @property
    def longest_ending(self) -> int:
        """Number of characters of the longest ending."""
        return max(map(len, self._endings()), default=0)

    def write(self, name: str, path: Path, given: Given, prediction: Prediction) -> str:
        """Write the files of one image, in its size before it was prepared.

        Args:
            name: What its files are called.
            path: The image's file.
            given: The image.
            prediction: Prediction of it, a batch of one.

        Returns:
            One line that says what was found.

        Raises:
            ValueError: If the prediction cannot be written as asked.
        """
        files = ImageFiles(self.folder, name, given, self.writer.values)
        text = self.writer.write(prediction, files)
        if self.overlay and self.reading is not None:
            shown = displayed(given.picture(self.model.num_image_channels)[None])[0]
            # Classes: what lies between two of them is none.
            plane = files.restored(self.reading.planes(prediction)[0], nearest=True)
            tinted = to_bytes(self.reading.paint(shown, plane, _STYLE))
            write_png(files.path("_overlay.png"), Image.fromarray(tinted))
        if self.save_state:
            files.save_state("_state.npy", prediction.output_array[0])
        self.rows += [[str(path), *row] for row in files.rows]
        return f"{path}: {text}"

    def close(self) -> None:
        """Write the table of the images that were done."""
        if self.table is None or not self.rows:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", *self.writer.columns])
        writer.writerows(self.rows)
        atomic_write(self.table, text.getvalue().encode())


def results_of(
    model: AbstractNCAModel,
    folder: Path,
    *,
    overlay: bool,
    values: ValueFormat,
    save_state: bool,
) -> Results:
    """Return what writes the predictions of a model.

    Args:
        model: The model.
        folder: Where to write.
        overlay: Whether to write tinted images, too.
        values: How values of cells are written.
        save_state: Whether to write all channels, too.

    Raises:
        ValueError: If its task has no results that could be written, or the options do not go
            with it.
    """
    writer = spec_of(model).writer
    if writer is None:
        known = ", ".join(name for name, spec in all_tasks().items() if spec.writer is not None)
        raise ValueError(f"WEIGHTS must be of a model of {known}, got the task {model.task!r}")
    return Results(model, folder, writer(model, values), overlay=overlay, save_state=save_state)
