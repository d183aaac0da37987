"""Data sets of two files a sample: an image, and its label as an image of the same size."""

from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path
from typing import Any, Self

from torch import Tensor
from torch.utils.data import Dataset

from ncalab.core.task import DataRequest
from ncalab.tasks.images import FileNames, image_size


class FilePairs(Dataset[tuple[Tensor, Tensor]]):
    """Base class of data sets of pairs of files.

    Attributes:
        pairs: Files (image, label), in the order of the samples.
        transform: What is done to image and label; None for nothing.
        page: Page of files with several.
        max_pixels: Pixels that a file may have at most.
    """

    pairs: list[tuple[Path, Path]]
    transform: Callable[..., Any] | None
    page: int | None
    max_pixels: int | None

    def __len__(self) -> int:
        return len(self.pairs)

    def subset(self, places: Sequence[int], transform: Callable[..., Any] | None = None) -> Self:
        """Return some of the samples, with a transform of their own.

        Args:
            places: Their places in ``pairs``.
            transform: Transform of the subset; that of this data set is not passed on.
        """
        # A copy, not a new data set: that would read and check every file again.
        part = copy(self)
        part.pairs = [self.pairs[place] for place in places]
        part.transform = transform
        return part

    def places_of(self, names: Sequence[Any]) -> list[int | None]:
        """Return the places of images by their names, with or without suffix; None if unknown."""
        files = [image for image, _ in self.pairs]
        places = {file: place for place, file in enumerate(files)}
        index = FileNames(files)
        return [places[found[0]] if (found := index.find(name)) else None for name in names]


def check_sizes(part: FilePairs, request: DataRequest) -> None:
    """Raise unless the images of a batch have one size.

    Raises:
        ValueError: If two images differ in size, and nothing brings them to one.
    """
    if request.settings.get("resize") is not None or request.batch_size == 1:
        return
    first: tuple[Path, tuple[int, int]] | None = None
    for file, _ in part.pairs:
        size = image_size(file, page=part.page, max_pixels=part.max_pixels)
        if first is None:
            first = file, size
        elif first[1] != size:
            raise ValueError(
                "data.resize must be given (or loader.batch_size = 1) for images of several "
                f"sizes, got {first[0]} with {first[1]} and {file} with {size}"
            )
