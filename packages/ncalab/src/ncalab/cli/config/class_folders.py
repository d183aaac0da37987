"""Labelled images as a folder with one folder for each class."""

from pathlib import Path

import numpy as np

from ncalab.cli.config.sections import Changes
from ncalab.cli.config.transforms import Changed
from ncalab.tasks import ClassificationDataset
from ncalab.tasks.images import image_suffixes, read_image


def read_class_folders(
    path: Path, resize: tuple[int, int] | None
) -> tuple[ClassificationDataset, list[str]]:
    """Read images whose class is the folder that they lie in.

    Args:
        path: Folder with at least two folders of images. Sorted by name, they are the classes.
        resize: Rows and columns that all are brought to; needed if they have several sizes.

    Returns:
        The data set, and the names of the classes.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If there are less than two classes, one has no images, a file is broken, or
            images differ in size or channels.
    """
    if not path.is_dir():
        raise FileNotFoundError(f"data.path must be a folder of folders of images, got {path}")
    folders = sorted(each for each in path.iterdir() if each.is_dir() and each.name[0] != ".")
    if len(folders) < 2:
        raise ValueError(
            f"data.path must hold one folder for each class, got {len(folders)} in {path}"
        )
    images: list[np.ndarray] = []
    labels: list[int] = []
    suffixes = image_suffixes()
    for label, folder in enumerate(folders):
        files = sorted(f for f in folder.iterdir() if f.suffix.lower() in suffixes)
        if not files:
            raise ValueError(f"data.path must hold images of each class, got none in {folder}")
        for file in files:
            images.append(_image(file, resize))
            labels.append(label)
            if images[-1].shape != images[0].shape:
                raise ValueError(
                    "data.resize must be given, and channels be the same, for images of several "
                    f"shapes, got {images[0].shape} and {images[-1].shape} in {file}"
                )
    names = [folder.name for folder in folders]
    return ClassificationDataset(np.stack(images), np.array(labels)), names


def _image(file: Path, resize: tuple[int, int] | None) -> np.ndarray:
    """Read an image; resized ones are floating point in [0, 1]."""
    image = read_image(file)
    if resize is None:
        return image
    changed = Changed(Changes(resize=resize), flip=False)(image=image)["image"]
    array: np.ndarray = changed.permute(1, 2, 0).numpy()
    return array
