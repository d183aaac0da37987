"""A folder of images and a folder of masks as a data set."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncalab.core import Preparation
from ncalab.core.argument_types import check_optional_integer
from ncalab.core.checks import check_flag, check_int
from ncalab.core.intensities import Normalization
from ncalab.core.progress import progress_bar
from ncalab.core.saving import PathLike
from ncalab.tasks.arguments import check_data_arguments
from ncalab.tasks.file_pairs import FilePairs
from ncalab.tasks.images import (
    MAX_PIXELS,
    check_reading,
    image_to_tensor,
    read_image,
    read_labels,
    read_mask,
)
from ncalab.tasks.images.masks import brief
from ncalab.tasks.preparing import (
    Used,
    for_transform,
    settled,
    transform_name,
    used_range,
    warn_of_range,
)
from ncalab.tasks.segmentation.pairs import find_pairs, raise_for_all

Array = np.ndarray
Transform = Callable[..., dict[str, Any]]

# A bar for what takes longer than this, in seconds.
_PATIENCE = 2.0


def check_labels(labels: Array, num_classes: int, ignore_index: int | None) -> None:
    """Raise unless all labels are classes, or the label of what is ignored.

    Raises:
        ValueError: If there are others.
    """
    values = np.unique(labels)
    classes = max(2, num_classes)
    wrong = values[(values < 0) | (values >= classes)]
    wrong = wrong if ignore_index is None else wrong[wrong != ignore_index]
    if wrong.size:
        besides = "" if ignore_index is None else f" or ignore_index = {ignore_index}"
        raise ValueError(f"labels must be in [0, {classes - 1}]{besides}, got {brief(wrong)}")


class SegmentationNCADataset(FilePairs):
    """Images and their masks, file by file, as in Kvasir-SEG.

    An image and its mask have the same name, up to the suffix::

        path/
            images/a.jpg  images/b.jpg
            masks/a.png   masks/b.png

    Every file is read once before anything else happens, so that a training never meets a broken
    one. The first spatial axis W is axis 0 of the image array: rows, as numpy and Pillow's arrays
    have it.

    Args:
        path: Folder that holds both folders.
        files: Names of the images, with or without suffix (as in a k-fold split); None for all.
        transform: Called as ``transform(image=image, mask=mask)`` with arrays ``(W, H, C)`` and
            ``(W, H)``; returns a dictionary with "image" and "mask", arrays or tensors
            ``(C, W, H)`` and ``(W, H)``. Albumentations has this form. It belongs to this data
            set alone: make one data set for each split.
        num_classes: As of the model. 1: masks are 0 and 1, or show black and white (see
            :func:`ncalab.tasks.read_mask`). 2 or more: the values are the classes (see
            :func:`ncalab.tasks.read_labels`).
        ignore_index: Label of pixels that do not count; as of the model.
        images: Name of the folder of images.
        masks: Name of the folder of masks.
        mask_suffix: What the name of a mask has after that of its image, such as "_mask".
        progress: Whether to show a progress bar while files are checked, if that takes a while.
        page: Page of images with several, from 0, and of masks with several.
        max_pixels: Pixels that an image or mask may have at most; None for any number.
        normalize: What is done to the values of each image, by its own statistics: "none" (8 and
            16 bits are scaled to [0, 1]), "range", "percentile", "standardize", or "auto"
            (percentiles of images of 16 bits, nothing else otherwise); see
            :func:`ncalab.core.intensities.normalized`.
        resize: Rows W and columns H that images and masks are brought to; None: they keep
            their size.

    Raises:
        FileNotFoundError: If a folder, an image or a mask is missing.
        TypeError: If an argument has another type.
        ValueError: If a file cannot be read, a mask has another size than its image or labels out
            of range, or images differ in their number of channels. Each is named with its reason.
    """

    def __init__(
        self,
        path: PathLike,
        files: Sequence[str] | None = None,
        transform: Transform | None = None,
        *,
        num_classes: int = 1,
        ignore_index: int | None = None,
        images: str = "images",
        masks: str = "masks",
        mask_suffix: str = "",
        progress: bool = True,
        page: int | None = None,
        max_pixels: int | None = MAX_PIXELS,
        normalize: Normalization = "auto",
        resize: tuple[int, int] | None = None,
    ) -> None:
        check_reading(page, max_pixels)
        names = {"images": images, "masks": masks, "mask_suffix": mask_suffix}
        check_data_arguments(path, files, transform, names=names)
        check_flag("progress", progress)
        preparation = Preparation(normalize=normalize, resize=resize)
        self.path = Path(path)
        self.num_classes = check_int("num_classes", num_classes, minimum=1)
        self.ignore_index = check_optional_integer("ignore_index", ignore_index)
        self.transform = transform
        self.page, self.max_pixels = page, max_pixels
        folders = self.path / images, self.path / masks
        self.pairs = find_pairs(*folders, files=files, mask_suffix=mask_suffix)
        self._label_values: set[int] = set()
        channels, used = self._check_files(progress=progress)
        self._preparation = settled(replace(preparation, channels=channels), used)
        warn_of_range(f"images of {folders[0]}", self._preparation, used)

    @property
    def preparation(self) -> Preparation:
        """Preparation of the images; a training puts it into its model."""
        return replace(self._preparation, transform=transform_name(self.transform))

    @property
    def label_values(self) -> frozenset[int]:
        """The smallest and the largest label of each mask that was read, without what is ignored.

        A subset has those of the whole data set.
        """
        return frozenset(self._label_values)

    def _check_files(self, *, progress: bool) -> tuple[int, list[Used]]:
        """Read every file once, and raise an error that names all that are not as they must be.

        Returns:
            Number of channels of the images, and between which values theirs lie.
        """
        channels: dict[int, Path] = {}
        used: list[Used] = []
        problems: list[Exception] = []
        # Decoders run outside of Python's lock.
        with ThreadPoolExecutor() as threads:
            read = threads.map(self._try, range(len(self)))
            bar = progress_bar(
                read,
                desc="Checking images and masks",
                total=len(self),
                delay=_PATIENCE,
                disable=not progress,
            )
            for (image_file, _), result in zip(self.pairs, bar, strict=True):
                if isinstance(result, ValueError):
                    problems.append(result)
                else:
                    channels.setdefault(result[0], image_file)
                    used.append(result[1])
                    self._label_values |= result[2]
        if len(channels) > 1:
            named = ", ".join(f"{file} has {count}" for count, file in channels.items())
            text = f"images must have the same number of channels: {named}"
            problems.append(ValueError(text))
        raise_for_all(problems, self.path)
        return next(iter(channels)), used

    def _try(self, idx: int) -> tuple[int, Used, set[int]] | ValueError:
        """Return channels and values of an image, and labels; or what is wrong with either."""
        try:
            image, labels = self._read(idx)
            counted = labels if self.ignore_index is None else labels[labels != self.ignore_index]
            ends = {int(counted.min()), int(counted.max())} if counted.size else set()
            return image.shape[2], used_range(image), ends
        except ValueError as error:
            return error

    def _read(self, idx: int) -> tuple[Array, Array]:
        """Read and check a pair.

        Returns:
            Image ``(W, H, C)`` and labels ``(W, H)``, as transforms take them.
        """
        image_file, mask_file = self.pairs[idx]
        image = read_image(image_file, page=self.page, max_pixels=self.max_pixels)
        labels = self._read_mask(mask_file)
        if labels.shape != image.shape[:2]:
            raise ValueError(
                f"{mask_file} must have the size of its image {image.shape[:2]}, got {labels.shape}"
            )
        return image, labels

    def _read_mask(self, file: Path) -> Array:
        """Read and check labels ``(W, H)``."""
        if self.num_classes == 1 and self.ignore_index is None:
            return read_mask(file, page=self.page, max_pixels=self.max_pixels)
        labels, lossy = read_labels(file, page=self.page, max_pixels=self.max_pixels)
        if lossy:
            raise ValueError(
                f"{file}: a mask of classes must not be a JPEG, which changes them; use PNG"
            )
        try:
            check_labels(labels, self.num_classes, self.ignore_index)
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        # OpenCV, which transforms may use, knows no 64-bit masks.
        small = labels.min() >= 0 and labels.max() <= 255
        return labels.astype(np.uint8 if small else np.int32)

    def __getitem__(self, idx: int) -> tuple[Tensor, Tensor]:
        """Return an image and its labels.

        Args:
            idx: Place in ``pairs``.

        Returns:
            Image ``(C, W, H)``, float32, normalised; and labels ``(W, H)``, int64.

        Raises:
            IndexError: If the index is out of range.
            TypeError: If the transform returns something else than an image and a mask.
            ValueError: If it returns a mask of another size, or changes labels.
        """
        if not -len(self) <= idx < len(self):
            raise IndexError(f"idx must be in [0, {len(self)}), got {idx}")
        image, labels = self._read(idx)
        mask = self._preparation.apply_to_labels(labels)
        if self.transform is None:
            return self._preparation.apply(image), mask.long()
        changed = for_transform(self._preparation, image)
        return self._transformed(changed, mask.numpy(), self.transform)

    def _transformed(
        self, image: Array, labels: Array, transform: Transform
    ) -> tuple[Tensor, Tensor]:
        result = transform(image=image, mask=labels)
        if not (isinstance(result, dict) and {"image", "mask"} <= result.keys()):
            raise TypeError(
                f'transform must return a dictionary with "image" and "mask", got {result!r:.80}'
            )
        picture = image_to_tensor(result["image"])
        mask = result["mask"]
        changed = mask.cpu().numpy() if isinstance(mask, Tensor) else np.asarray(mask)
        changed = changed[..., 0] if changed.ndim == 3 and changed.shape[-1] == 1 else changed
        if picture.shape[1:] != changed.shape:
            raise ValueError(
                f"transform must return a mask of the image's size {tuple(picture.shape[1:])}, "
                f"got {changed.shape}"
            )
        if not (changed == np.round(changed)).all():
            raise ValueError("transform must keep labels whole numbers; interpolate by 'nearest'")
        check_labels(changed, self.num_classes, self.ignore_index)
        return picture, torch.from_numpy(changed.astype(np.int64))
