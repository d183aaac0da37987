"""Labelled images as a folder with one folder for each class."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor

from ncalab.core import Preparation
from ncalab.core.intensities import Normalization, resolved
from ncalab.tasks.arguments import check_least
from ncalab.tasks.classification.data import ClassificationDataset
from ncalab.tasks.images import MAX_PIXELS, image_to_tensor, is_hidden, list_images, read_image
from ncalab.tasks.images.folders import why_no_images
from ncalab.tasks.images.pixels import stack_images
from ncalab.tasks.preparing import Used, for_transform, settled, used_range, warn_of_range


@dataclass(frozen=True)
class ClassFolders:
    """A folder with one folder of images for each class, as a settings file describes it.

    Attributes:
        path: The folder.
        normalize: What is done to the values of each image, as in :class:`ClassificationDataset`.
        resize: W and H that images are brought to; None: they keep their size.
        page: Page of images with several, from 0.
        max_pixels: Pixels that an image may have at most; None for any number.
    """

    path: str
    normalize: Normalization = "auto"
    resize: tuple[int, int] | None = None
    page: int | None = None
    max_pixels: int | None = MAX_PIXELS

    def __post_init__(self) -> None:
        check_least(self, {"page": 0, "max_pixels": 1})


class FolderDataset(ClassificationDataset):
    """Images that were prepared as they were read: their files may be large.

    Args:
        images: Images as :func:`ncalab.tasks.preparing.for_transform` returns them, shape
            ``(W, H, C)`` each.
        labels: Class of each.
        preparation: What was done to them.
    """

    def __init__(
        self, images: Sequence[np.ndarray], labels: Sequence[int], preparation: Preparation
    ) -> None:
        self.images, self.labels = stack_images(images), np.array(labels)
        self.transform = None
        self._preparation = preparation

    def _image(self, image: np.ndarray) -> Tensor:
        if self.transform is not None:
            image = self.transform(image=image)["image"]
        return image_to_tensor(image)


def read_class_folders(settings: ClassFolders) -> tuple[FolderDataset, list[str]]:
    """Read images whose class is the folder that they lie in.

    Args:
        settings: Folder with at least two folders of images, which are the classes, sorted by
            name; and how to read and prepare the images.

    Returns:
        The data set, and the names of the classes.

    Raises:
        FileNotFoundError: If the folder does not exist.
        ValueError: If there are less than two classes, one has no images, a file is broken, or
            images differ in size or channels.
    """
    path = Path(settings.path)
    if not path.is_dir():
        raise FileNotFoundError(f"data.path must be a folder of folders of images, got {path}")
    folders = sorted(each for each in path.iterdir() if each.is_dir() and not is_hidden(each))
    if len(folders) < 2:
        raise ValueError(
            f"data.path must hold one folder for each class, got {len(folders)} in {path}"
        )
    preparation = Preparation(normalize=settings.normalize, resize=settings.resize)
    images: list[np.ndarray] = []
    labels: list[int] = []
    used: list[Used] = []
    for label, folder in enumerate(folders):
        files = list_images(folder)
        if not files:
            raise ValueError(
                f"data.path must hold images of each class, got none in {folder}"
                f"{why_no_images(folder)}"
            )
        for file in files:
            image = read_image(file, page=settings.page, max_pixels=settings.max_pixels)
            _check_range(image, file, preparation)
            images.append(for_transform(preparation, image))
            labels.append(label)
            used.append(used_range(image))
            if images[-1].shape != images[0].shape:
                raise ValueError(
                    "data.resize must be given, and channels be the same, for images of several "
                    f"shapes, got {images[0].shape} and {images[-1].shape} in {file}"
                )
    warn_of_range(f"images of {path}", preparation, used)
    preparation = settled(replace(preparation, channels=images[0].shape[2]), used)
    return FolderDataset(images, labels, preparation), [folder.name for folder in folders]


def _check_range(image: np.ndarray, file: Path, preparation: Preparation) -> None:
    """Raise if an image has values that no other depth could have been scaled to."""
    taken = resolved(preparation.normalize, image.dtype) == "none" and image.dtype.kind == "f"
    if taken and not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"{file} must be in [0, 1], as floating point is taken as it is without "
            f"data.normalize, got {image.min()} to {image.max()}"
        )
