"""Random patches of images and masks."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ncalab.core.checks import check_flag, check_int, check_number, check_type


class RandomPatches(Dataset[tuple[Tensor, Tensor]]):
    """Patches at random places of images, some of them around a pixel of a rare class.

    An epoch of whole images has few optimiser steps, each of them dear, and shows little of what
    is rare. What is random is drawn from torch's default generator.

    Args:
        images: Shape ``(N, C, W, H)``, floating point.
        labels: Classes, shape ``(N, W, H)``, integers.
        size: Side of a patch; along an axis that is shorter, all of it.
        length: Number of patches of an epoch; None for as many as cover the images once.
        rare: Share of the patches, in [0, 1], that are centred on a pixel of a class other than
            the most common one, each such class as often as the others.
        flip: Whether to mirror patches at random, along either axis.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If shapes do not fit each other, or a value is out of its range.

    >>> patches = RandomPatches(torch.rand(2, 1, 40, 30), torch.zeros(2, 40, 30).long(), size=16)
    >>> len(patches), patches[0][0].shape, patches[0][1].shape
    (10, torch.Size([1, 16, 16]), torch.Size([16, 16]))
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        size: int,
        length: int | None = None,
        *,
        rare: float = 0.5,
        flip: bool = False,
    ) -> None:
        check_type("images", images, Tensor)
        check_type("labels", labels, Tensor)
        if images.ndim != 4 or labels.shape != (len(images), *images.shape[2:]) or not len(images):
            raise ValueError(
                "labels must have shape (N, W, H) for images (N, C, W, H), "
                f"got {tuple(labels.shape)} for {tuple(images.shape)}"
            )
        self.images, self.labels = images, labels
        self.size = check_int("size", size, minimum=1)
        self.sides = [min(size, side) for side in labels.shape[1:]]
        covering = math.ceil(labels.numel() / math.prod(self.sides))
        self.length = covering if length is None else check_int("length", length, minimum=1)
        check_number("rare", rare)
        if not 0 <= rare <= 1:
            raise ValueError(f"rare must be in [0, 1], got {rare}")
        self.rare, self.flip = rare, check_flag("flip", flip)
        classes, counts = labels.unique(return_counts=True)
        common = classes[counts.argmax()]
        # Flat places of each rare class: to look for them anew would take as long as a step.
        self._places = [
            (labels == each).flatten().nonzero()[:, 0]
            for each in classes
            if each != common and each >= 0
        ]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return a patch ``(C, w, h)`` and its labels ``(w, h)``."""
        if not 0 <= index < self.length:
            raise IndexError(index)
        sample, w, h = self._draw()
        wide, high = self.sides
        image = self.images[sample, :, w : w + wide, h : h + high]
        labels = self.labels[sample, w : w + wide, h : h + high]
        for axis in (0, 1) if self.flip else ():
            if torch.rand(()) < 0.5:
                image, labels = image.flip(axis + 1), labels.flip(axis)
        return image, labels

    def _draw(self) -> tuple[int, int, int]:
        """Draw an image and the corner of a patch in it."""
        width, height = self.labels.shape[1:]
        last = [width - self.sides[0], height - self.sides[1]]
        if self._places and torch.rand(()) < self.rare:
            places = self._places[int(torch.randint(len(self._places), ()))]
            place = int(places[torch.randint(len(places), ())])
            sample, within = divmod(place, width * height)
            return sample, *corner_around(divmod(within, height), self.sides, (width, height))
        w, h = (int(torch.randint(most + 1, ())) for most in last)
        return int(torch.randint(len(self.images), ())), w, h


def corner_around(
    middle: tuple[int, int], sides: Sequence[int], size: tuple[int, int]
) -> tuple[int, int]:
    """Return the corner of the patch around a pixel that lies within the image.

    Args:
        middle: The pixel.
        sides: Sides of the patch, at most those of the image.
        size: Width and height of the image.

    >>> corner_around((9, 5), (4, 4), (10, 12))
    (6, 3)
    """
    w, h = (
        min(max(0, centre - side // 2), whole - side)
        for centre, side, whole in zip(middle, sides, size, strict=True)
    )
    return w, h
