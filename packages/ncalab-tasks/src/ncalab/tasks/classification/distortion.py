"""Images that are turned, sheared, scaled and moved a little."""

import math
from collections.abc import Sized
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as functional
from torch import Tensor
from torch.utils.data import Dataset

from ncalab.core.checks import check_choice, check_number, check_type

PaddingMode = Literal["zeros", "border", "reflection"]
"""Padding beyond the border of an image, as in ``torch.nn.functional.grid_sample``."""

_MOST = {"degrees": 180.0, "scale": 0.9, "shear": 1.0, "shift": 1.0}


class RandomAffine(Dataset[tuple[Tensor, Any]]):
    """Images of a data set, each time turned, sheared, scaled and moved in another way.

    For classification, where the label stays as it is. Pixels between others are interpolated.
    What is random is drawn from torch's default generator, evenly between minus and plus the
    values below.

    Args:
        data: Data set of pairs (image ``(C, W, H)``, floating point; label). A model that is
            trained on the distorted images takes over the preparation of these.
        degrees: Angle in degrees, in [0, 180].
        scale: Change of size as a share of it, in [0, 0.9].
        shear: Shear as a factor, in [0, 1].
        shift: Shift along each axis as a share of the image's side, in [0, 1].
        padding_mode: What lies beyond the border: "border" continues its pixels, "zeros" is for
            objects before a black background, and "reflection" mirrors the image.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If a value is out of its range, or the padding mode is not known.

    >>> images = [(torch.rand(1, 28, 28), 3)]
    >>> image, label = RandomAffine(images)[0]
    >>> image.shape, label
    (torch.Size([1, 28, 28]), 3)
    >>> still = RandomAffine(images, degrees=0, scale=0, shear=0, shift=0)
    >>> torch.allclose(still[0][0], images[0][0], atol=1e-5)
    True
    """

    def __init__(
        self,
        data: Any,
        *,
        degrees: float = 11.0,
        scale: float = 0.125,
        shear: float = 0.15,
        shift: float = 0.09,
        padding_mode: PaddingMode = "border",
    ) -> None:
        check_type("data", data, Sized)
        values = {"degrees": degrees, "scale": scale, "shear": shear, "shift": shift}
        for name, value in values.items():
            check_number(name, value)
            if not 0 <= value <= _MOST[name]:
                raise ValueError(f"{name} must be in [0, {_MOST[name]:g}], got {value}")
        check_choice("padding_mode", padding_mode, get_args(PaddingMode))
        self.dataset, self.padding_mode = data, padding_mode
        # An affine grid counts from -1 to 1.
        self._most = torch.tensor([math.radians(degrees), scale, shear, 2 * shift, 2 * shift])

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Return a distorted image ``(C, W, H)`` and its label."""
        image, label = self.dataset[index]
        return self._distorted(image), label

    def _distorted(self, image: Tensor) -> Tensor:
        angle, size, shear, along_h, along_w = (2 * torch.rand(5) - 1) * self._most
        cos, sin = torch.cos(angle) * (1 + size), torch.sin(angle) * (1 + size)
        # Along H first, as affine grids have it; in pixels, not in units of two different sides.
        aspect = image.shape[1] / image.shape[2]
        rows = [
            torch.stack([cos, (shear - sin) * aspect, along_h]),
            torch.stack([sin / aspect, cos, along_w]),
        ]
        matrix = torch.stack(rows)[None].to(image)
        grid = functional.affine_grid(matrix, [1, *image.shape], align_corners=False)
        moved = functional.grid_sample(
            image[None], grid, padding_mode=self.padding_mode, align_corners=False
        )
        return moved[0]
