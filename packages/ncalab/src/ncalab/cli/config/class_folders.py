"""Labelled images as a folder with one folder for each class."""

from pathlib import Path

import numpy as np

from ncalab.cli.config.sections import Changes
from ncalab.cli.config.transforms import Changed
from ncalab.tasks import ClassificationDataset
from ncalab.tasks.images import MAX_PIXELS, is_hidden, list_images, read_image
from ncalab.tasks.images.folders import why_no_images
from ncalab.tasks.images.pixels import stack_images


def read_class_folders(
    path: Path,
    resize: tuple[int, int] | None,
    *,
    page: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> tuple[ClassificationDataset, list[str]]:
    """Read images whose class is the folder that they lie in.

    Args:
        path: Folder with at least two folders of images. Sorted by name, they are the classes.
        resize: Rows and columns that all are brought to; needed if they have several sizes.
        page: Page of images with several, from 0.
        max_pixels: Pixels that an image may have at most; None for any number.

    Returns:
        The data set, and the names of the classes.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are less than two classes, one has no images, a file is broken, or
            images differ in size or channels.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"data.path must be a folder of folders of images, got {path}")
    folders = sorted(each for each in path.iterdir() if each.is_dir() and not is_hidden(each))
    if len(folders) < 2:
        raise ValueError(
            f"data.path must hold one folder for each class, got {len(folders)} in {path}"
        )
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        files = list_images(folder)
        if not files:
            raise ValueError(
                f"data.path must hold images of each class, got none in {folder}"
                f"{why_no_images(folder)}"
            )
        for file in files:
            image = read_image(file, page=page, max_pixels=max_pixels)
            images.append(_resized(_check_range(image, file), resize))
            labels.append(label)
            if images[-1].shape != images[0].shape:
                raise ValueError(
                    "data.resize must be given, and channels be the same, for images of several "
                    f"shapes, got {images[0].shape} and {images[-1].shape} in {file}"
                )
    names = [folder.name for folder in folders]
    return ClassificationDataset(stack_images(images), np.array(labels)), names


def _check_range(image: np.ndarray, file: Path) -> np.ndarray:
    """Raise if an image has values that no other depth could have been scaled to."""
    if np.issubdtype(image.dtype, np.floating) and not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"{file} must be in [0, 1], as floating point is taken as it is, "
            f"got {image.min()} to {image.max()}"
        )
    return image


def _resized(image: np.ndarray, resize: tuple[int, int] | None) -> np.ndarray:
    """Bring an image to a size; resized ones are floating point in [0, 1]."""
    if resize is None:
        return image
    changed = Changed(Changes(resize=resize), flip=False)(image=image)["image"]
    array: np.ndarray = changed.permute(1, 2, 0).numpy()
    return array
