"""Random patches of images and masks that are read one by one."""

import math
from collections.abc import Sized
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ncalab.core.checks import check_int, check_type
from ncalab.tasks.segmentation.patches import corner_around

_RARE = 0.5


class FilePatches(Dataset[tuple[Tensor, Tensor]]):
    """Patches at random places of the samples of a data set, half of them around what is rare.

    As :class:`ncalab.tasks.RandomPatches`, for images that are not in memory: each patch reads its
    image. What is rare is known of that image alone: every class but its most common one, each as
    often as the others. What is random is drawn from torch's default generator. A model that is
    trained on the patches takes over the preparation of the images.

    Args:
        data: Data set of pairs (image ``(C, W, H)``, labels ``(W, H)``), at least one. An epoch
            covers images of the size of the first one once.
        size: Side of a patch; along an axis that is shorter, all of it.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If the size is below 1, or the data set is empty.

    >>> patches = FilePatches([(torch.rand(1, 40, 30), torch.zeros(40, 30).long())], 16)
    >>> len(patches), patches[0][0].shape, patches[0][1].shape
    (5, torch.Size([1, 16, 16]), torch.Size([16, 16]))
    """

    def __init__(self, data: Any, size: int) -> None:
        check_type("data", data, Sized)
        if not len(data):
            raise ValueError("data must hold at least one sample, got none")
        self.dataset, self.size = data, check_int("size", size, minimum=1)
        self._ignored = getattr(data, "ignore_index", None)
        labels = data[0][1]
        self._length: int = len(data) * math.ceil(labels.numel() / math.prod(self._sides(labels)))

    def _sides(self, labels: Tensor) -> tuple[int, int]:
        width, height = labels.shape
        return min(self.size, width), min(self.size, height)

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a patch ``(C, w, h)`` and its labels ``(w, h)``."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        image, labels = self.dataset[index % len(self.dataset)]
        wide, high = self._sides(labels)
        w, h = self._draw_corner(labels)
        return image[:, w : w + wide, h : h + high], labels[w : w + wide, h : h + high]

    def _draw_corner(self, labels: Tensor) -> tuple[int, int]:
        (width, height), sides = labels.shape, self._sides(labels)
        rare = self._rare_classes(labels)
        if len(rare) and torch.rand(()) < _RARE:
            chosen = rare[torch.randint(len(rare), ())]
            places = (labels == chosen).flatten().nonzero()[:, 0]
            place = int(places[torch.randint(len(places), ())])
            return corner_around(divmod(place, height), sides, (width, height))
        w, h = (
            int(torch.randint(whole - side + 1, ()))
            for whole, side in zip((width, height), sides, strict=True)
        )
        return w, h

    def _rare_classes(self, labels: Tensor) -> Tensor:
        """Return the classes in some labels, without the most common one and what is ignored."""
        counted = labels[labels >= 0]
        if self._ignored is not None:
            counted = counted[counted != self._ignored]
        # A table of counts, as sorting all pixels for every patch would take longer than a step.
        counts = counted.bincount()
        classes = counts.nonzero()[:, 0]
        return classes[classes != counts.argmax()] if len(classes) else classes
