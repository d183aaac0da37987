"""What a prediction is written as: one class for each task."""

import csv
import io
from abc import ABC, abstractmethod
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ncalab.cli.jobs.given import Given
from ncalab.cli.jobs.pixels import depth_counts, mask_image, straight, write_array, write_png
from ncalab.core import AbstractNCAModel, Prediction, Preparation
from ncalab.core.saving import atomic_write
from ncalab.viz import animator_styles
from ncalab.viz.arrays import displayed
from ncalab.viz.images import to_bytes
from ncalab.viz.reading import DepthReading, reading_of

Array = np.ndarray

# What has no colour in the file: outside of the figure, or unknown.
_STYLE = animator_styles["dark"]


def restored(plane: Array, given: Given, *, nearest: bool | None = None) -> Array:
    """Bring one value a cell, shape ``(W, H)``, to the size of the image as it was given."""
    tensor = torch.from_numpy(np.ascontiguousarray(plane))
    return np.asarray(Preparation().restore(tensor, given.size, nearest=nearest))


class Results(ABC):
    """Writes the predictions of one task.

    Args:
        model: The model.
        folder: Where to write.
        overlay: Whether to write tinted images, too.
        save_state: Whether to write all channels, too.
    """

    endings: tuple[str, ...] = ()
    """What the names of an image's files have after the name of the image."""

    def __init__(
        self, model: AbstractNCAModel, folder: Path, *, overlay: bool, save_state: bool
    ) -> None:
        self.model, self.folder = model, folder
        self.overlay, self.save_state = overlay, save_state
        self.reading = reading_of(model)
        if overlay and self.reading is None:
            raise ValueError(
                "--overlay must be left out for a model whose cells say nothing about the task, "
                f"such as this {type(model).__name__}"
            )

    def files(self, names: Collection[str]) -> list[Path]:
        """Return the files that will be written for images of these names."""
        endings = self._all_endings()
        return [self.folder / f"{name}{ending}" for name in names for ending in endings]

    def _all_endings(self) -> list[str]:
        overlay = ["_overlay.png"] if self.overlay else []
        return [*self.endings, *overlay, *(["_state.npy"] if self.save_state else [])]

    @property
    def longest_ending(self) -> int:
        """Number of characters of the longest ending."""
        return max(map(len, self._all_endings()), default=0)

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
        text = self._write(name, given, prediction)
        if self.overlay and self.reading is not None:
            shown = displayed(given.picture(self.model.num_image_channels)[None])[0]
            # Classes: what lies between two of them is none.
            plane = restored(self.reading.planes(prediction)[0], given, nearest=True)
            self._save(name, "_overlay.png", to_bytes(self.reading.paint(shown, plane, _STYLE)))
        if self.save_state:
            state = np.moveaxis(prediction.output_array[0], 0, -1)
            write_array(self.folder / f"{name}_state.npy", state)
        return f"{path}: {text}"

    @abstractmethod
    def _write(self, name: str, given: Given, prediction: Prediction) -> str:
        """Write what the task is about; say what it is."""

    def _save(self, name: str, ending: str, pixels: Array) -> None:
        write_png(self.folder / f"{name}{ending}", Image.fromarray(pixels))

    def close(self) -> None:  # noqa: B027 - most tasks write image by image
        """Write what is about all images."""


class Masks(Results):
    """The class of each pixel."""

    endings = ("_mask.png",)

    def _write(self, name: str, given: Given, prediction: Prediction) -> str:
        found: Tensor = getattr(prediction, "mask")[0]  # noqa: B009 - of its subclass
        mask = restored(found.cpu().numpy(), given)
        classes = max(2, self.model.num_output_channels)
        write_png(self.folder / f"{name}_mask.png", mask_image(mask, classes))
        shares = np.bincount(mask.ravel(), minlength=classes) / mask.size
        if classes == 2 and self.model.num_output_channels == 1:
            return f"foreground {shares[1]:.1%}"
        return ", ".join(f"class {k} {share:.1%}" for k, share in enumerate(shares))


class Classes(Results):
    """The class of each image, and a table of all."""

    def __init__(self, model: AbstractNCAModel, folder: Path, **options: Any) -> None:
        super().__init__(model, folder, **options)
        known: list[str] | None = getattr(model, "class_names", None)
        self.names = known or [str(k) for k in range(getattr(model, "num_classes", 0))]
        self.rows: list[list[str]] = []

    @property
    def table(self) -> Path:
        """The file of the table."""
        return self.folder / "classes.csv"

    def files(self, names: Collection[str]) -> list[Path]:
        """Return the table, and the files of each image, if there are any."""
        return [self.table, *super().files(names)]

    def write(self, name: str, path: Path, given: Given, prediction: Prediction) -> str:
        """Add a row to the table, and write the files of one image."""
        text = super().write(name, path, given, prediction)
        self.rows[-1].insert(0, str(path))
        return text

    def _write(self, name: str, given: Given, prediction: Prediction) -> str:  # noqa: ARG002
        probabilities: Array = self.model.class_probabilities(prediction)[0].cpu().numpy()  # type: ignore[operator]
        best = int(probabilities.argmax())
        row = [str(best), self.names[best], *(f"{p:.6f}" for p in probabilities)]
        self.rows.append(row)
        order = np.argsort(-probabilities)[:3]
        return "  ".join(f"{self.names[k]} {probabilities[k]:.1%}" for k in order)

    def close(self) -> None:
        """Write the table of the images that were done."""
        if not self.rows:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["image", "class", "name", *(f"p_{name}" for name in self.names)])
        writer.writerows(self.rows)
        atomic_write(self.table, text.getvalue().encode())


class Depths(Results):
    """The depth of each pixel, exact or as 16-bit counts, and as a coloured picture."""

    def __init__(
        self,
        model: AbstractNCAModel,
        folder: Path,
        *,
        png: bool,
        unit: float,
        overlay: bool,
        save_state: bool,
    ) -> None:
        if overlay:
            raise ValueError(
                "--overlay must be left out for depth, whose coloured picture is always written"
            )
        super().__init__(model, folder, overlay=False, save_state=save_state)
        self.png, self.unit = png, unit
        self.endings = ("_depth.png" if png else "_depth.npy", "_depth_color.png")

    def _write(self, name: str, given: Given, prediction: Prediction) -> str:
        reading = DepthReading(self.model)
        depth = restored(reading.planes(prediction)[0], given)
        if self.png:
            self._save(name, "_depth.png", depth_counts(depth, self.unit))
        else:
            write_array(self.folder / f"{name}_depth.npy", depth)
        reading.fit(depth)
        colored = reading.paint(depth[None], depth, _STYLE)
        self._save(name, "_depth_color.png", to_bytes(colored))
        return f"depth {depth.min():.4g} to {depth.max():.4g}, median {np.median(depth):.4g}"


class Grown(Results):
    """The image that the cells show."""

    endings = ("_grown.png",)

    def _write(self, name: str, given: Given, prediction: Prediction) -> str:  # noqa: ARG002
        image = np.clip(np.moveaxis(prediction.image_channels_np[0], 0, -1), 0, 1)
        file = self.folder / f"{name}_grown.png"
        write_png(file, Image.fromarray(to_bytes(straight(image))))
        alive = (image[..., -1] > 0.1).mean()
        return f"{prediction.steps} steps, {alive:.1%} of the cells alive, {file}"


def results_of(
    model: AbstractNCAModel,
    folder: Path,
    *,
    overlay: bool,
    depth_png: bool,
    depth_unit: float,
    save_state: bool,
) -> Results:
    """Return what writes the predictions of a model.

    Raises:
        ValueError: If its task has no results that could be written, or the options do not go
            with it.
    """
    if model.task == "depth":
        return Depths(
            model, folder, png=depth_png, unit=depth_unit, overlay=overlay, save_state=save_state
        )
    kinds: dict[str, type[Results]] = {
        "segmentation": Masks,
        "classification": Classes,
        "growing": Grown,
    }
    if model.task not in kinds:
        known = ", ".join([*kinds, "depth"])
        raise ValueError(f"WEIGHTS must be of a model of {known}, got the task {model.task!r}")
    return kinds[model.task](model, folder, overlay=overlay, save_state=save_state)
