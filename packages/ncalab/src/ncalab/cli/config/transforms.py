"""What a settings file can do to images: bring them to one size, and mirror them at random."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.cli.config.sections import Changes
from ncalab.tasks.images import image_to_tensor


class Changed:
    """Transform of images, and of masks or depths with them.

    Args:
        changes: What to do.
        flip: Whether mirroring is allowed: to train, but not to validate.
    """

    def __init__(self, changes: Changes, *, flip: bool) -> None:
        self.resize, self.flip = changes.resize, changes.flip and flip

    def __call__(self, *, image: np.ndarray, mask: np.ndarray | None = None) -> dict[str, Any]:
        """Transform an image ``(W, H, C)`` and what goes with it ``(W, H)``.

        Returns:
            "image", a tensor ``(C, W, H)`` in [0, 1], and "mask", a tensor ``(W, H)``, if given.
        """
        picture = image_to_tensor(image)
        plane = None if mask is None else torch.from_numpy(np.ascontiguousarray(mask))
        if self.resize is not None:
            picture = _resized(picture, self.resize, "bilinear")
            plane = None if plane is None else _nearest(plane, self.resize)
        for axis in (-2, -1):
            if self.flip and torch.rand(()) < 0.5:
                picture = picture.flip(axis)
                plane = None if plane is None else plane.flip(axis)
        return {"image": picture} if plane is None else {"image": picture, "mask": plane}


def _resized(image: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    resized = F.interpolate(image[None], size, mode=mode, antialias=mode == "bilinear")[0]
    return resized.clamp(0, 1)


def _nearest(plane: Tensor, size: tuple[int, int]) -> Tensor:
    """Take the nearest value: the mean of two classes, or of two depths, is neither."""
    rows, columns = (
        ((torch.arange(new) + 0.5) * old / new).long()
        for new, old in zip(size, plane.shape, strict=True)
    )
    return plane[rows][:, columns]


def transform_of(changes: Changes, *, flip: bool) -> Changed | None:
    """Return the transform, None if there is nothing to do."""
    changed = Changed(changes, flip=flip)
    return changed if changed.resize is not None or changed.flip else None
