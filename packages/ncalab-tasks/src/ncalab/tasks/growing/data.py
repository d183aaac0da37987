"""The data set of a growing task: one image, as often as a batch needs it."""

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ncalab.core import Preparation
from ncalab.core.checks import check_int
from ncalab.tasks.growing.model import seed_state
from ncalab.tasks.images import to_unit_range


def premultiply(image: np.ndarray) -> np.ndarray:
    """Scale the colours of an RGBA image by its opacity.

    The seed's surroundings are transparent black; premultiplied, so is every transparent pixel of
    the target, whatever colour the file holds for it.

    Args:
        image: Image, shape ``(W, H, 4)``, range [0, 1].

    Returns:
        Image of the same shape.

    >>> premultiply(np.array([[[1.0, 0.5, 0.0, 0.5]]])).tolist()
    [[[0.5, 0.25, 0.0, 0.5]]]
    """
    return np.concatenate([image[..., :3] * image[..., 3:], image[..., 3:]], axis=-1)


def _checked(image: np.ndarray) -> np.ndarray:
    """Return an image in [0, 1], float32; floating-point values must be in it."""
    if np.issubdtype(image.dtype, np.floating) and not (image.min() >= 0 and image.max() <= 1):
        raise ValueError(
            f"image must be in [0, 1] if it is floating point, got {image.min()} to {image.max()}"
        )
    return to_unit_range(image)


class GrowingNCADataset(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of a seed state and the image to grow, all of them alike.

    Args:
        image: Target, shape ``(W, H, image channels)`` with 1, 3 or 4 channels, uint8, uint16
            or floating point in [0, 1]. An RGBA image is premultiplied by its opacity.
        num_channels: Number of channels of the model's cells, at least those of the image.
        batch_size: Number of pairs.
        normalize: "none": the picture is what is to be grown, and is drawn as it is.

    Attributes:
        preparation: What is done to pictures, :class:`ncalab.core.Preparation`. A training puts
            it into its model.

    Raises:
        TypeError: If the image is not an array, or of another dtype.
        ValueError: If its shape or range is another, or there are too few channels.

    >>> dataset = GrowingNCADataset(np.full((8, 6, 4), 255, np.uint8), num_channels=16)
    >>> seed, image = dataset[0]
    >>> len(dataset), seed.shape, image.shape
    (8, torch.Size([16, 8, 6]), torch.Size([4, 8, 6]))
    """

    def __init__(
        self,
        image: np.ndarray,
        num_channels: int,
        batch_size: int = 8,
        *,
        normalize: Literal["none"] = "none",
    ) -> None:
        if normalize != "none":
            raise ValueError(
                "normalize must be 'none' for a picture to grow, which is drawn as it is, "
                f"got {normalize!r}; normalise the picture itself to grow another one"
            )
        if not isinstance(image, np.ndarray):
            raise TypeError(f"image must be a numpy array, got {type(image).__name__}")
        if image.ndim != 3 or image.shape[2] not in (1, 3, 4) or 0 in image.shape:
            raise ValueError(f"image must have shape (W, H, 1, 3 or 4 channels), got {image.shape}")
        self.batch_size = check_int("batch_size", batch_size, minimum=1)
        target = _checked(image)
        if image.shape[2] == 4:
            target = premultiply(target)
        width, height, channels = target.shape
        self.preparation = Preparation(channels=channels, premultiply=channels == 4)
        self.image = torch.from_numpy(target).permute(2, 0, 1).contiguous()
        self.seed = seed_state(num_channels, channels, width, height)

    def __len__(self) -> int:
        return self.batch_size

    def __getitem__(self, idx: int) -> tuple[Tensor, Tensor]:
        """Return (seed ``(num_channels, W, H)``, image ``(image channels, W, H)``), float32.

        Raises:
            IndexError: If the index is out of range.
        """
        if not -self.batch_size <= idx < self.batch_size:
            raise IndexError(f"idx must be in [0, {self.batch_size}), got {idx}")
        return self.seed.clone(), self.image.clone()
