"""Preparation of images: what a training did to its own is done to all later ones."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from ncalab.core.checks import check_choice, check_flag, check_int, check_numbers, check_size
from ncalab.core.intensities import (
    NORMALIZATIONS,
    Normalization,
    channels_last,
    normalized,
    resolved,
    to_unit_range,
    with_channels,
)
from ncalab.core.resizing import resize_linear, resize_nearest

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """Steps from an image as a file holds it to the input of a model, in this order.

    A data set has one, as ``dataset.preparation``; a training puts it into its model, as
    ``model.preparation``, which is saved beside the weights.

    Args:
        channels: Number of channels that pictures are converted to (see
            :func:`ncalab.core.intensities.with_channels`); None: they stay as they are.
        normalize: What is done to the values of each image; see
            :func:`ncalab.core.intensities.normalized`.
        raw: Whether values are taken as the numbers that they are, in place of ``normalize``;
            integers are shares of their type's range otherwise.
        mean: What is then subtracted from each channel, such as the mean over a training set.
        scale: What it is then divided by; given along with ``mean``.
        premultiply: Whether colours of images with 4 channels are multiplied by the opacity.
        resize: Width W and height H that images are brought to, by linear interpolation without
            aliasing; None: they keep their size.
        transform: Name of a transform of the training's own, which is not repeated.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range, or does not go with another one.

    >>> preparation = Preparation(channels=3, normalize="range", resize=(2, 2))
    >>> image = preparation.apply(np.array([[400, 1600]], np.uint16))
    >>> image.shape, image[0].tolist()
    (torch.Size([3, 2, 2]), [[0.0, 1.0], [0.0, 1.0]])
    >>> preparation.restore(torch.tensor([[0, 1], [0, 1]]), size=(1, 2)).tolist()
    [[0, 1]]
    """

    channels: int | None = None
    normalize: Normalization = "none"
    raw: bool = False
    mean: tuple[float, ...] | None = None
    scale: tuple[float, ...] | None = None
    premultiply: bool = False
    resize: tuple[int, int] | None = None
    transform: str | None = None

    def __post_init__(self) -> None:
        if self.channels is not None:
            check_int("channels", self.channels, minimum=1)
        check_choice("normalize", self.normalize, NORMALIZATIONS)
        check_flag("raw", self.raw)
        if self.raw and self.normalize != "none":
            raise ValueError(f"normalize must be 'none' for raw values, got {self.normalize!r}")
        check_flag("premultiply", self.premultiply)
        _set(self, "resize", check_size("resize", self.resize))
        _set(self, "mean", check_numbers("mean", self.mean))
        _set(self, "scale", check_numbers("scale", self.scale))
        self._check_statistics()
        if not (self.transform is None or isinstance(self.transform, str)):
            raise TypeError(f"transform must be a name or None, got {self.transform!r}")

    def _check_statistics(self) -> None:
        if (self.mean is None) != (self.scale is None):
            raise ValueError(f"mean and scale must go together, got {self.mean} and {self.scale}")
        if self.mean is None or self.scale is None:
            return
        if len(self.mean) != len(self.scale) or self.channels not in (None, len(self.mean)):
            raise ValueError(
                f"mean and scale must hold a number for each of the channels ({self.channels}), "
                f"got {len(self.mean)} and {len(self.scale)}"
            )
        if min(self.scale) <= 0:
            raise ValueError(f"scale must be above 0, got {self.scale}")

    # What is done to images

    def apply(self, image: Array | Tensor) -> Tensor:
        """Prepare an image for the model.

        Args:
            image: Array ``(W, H)`` or ``(W, H, C)``, or tensor ``(C, W, H)``; bool, uint8,
                uint16 or floating point (of ``raw`` values, any integers).

        Returns:
            Image, shape ``(C, W, H)``, float32. ``model.predict(image[None])`` takes it.

        Raises:
            TypeError: If it is neither array nor tensor, or of another dtype.
            ValueError: If it has another number of axes, or of channels that cannot be converted.
        """
        return self.apply_to_all(channels_last(image)[None])[0]

    def apply_to_all(self, images: Array) -> Tensor:
        """Prepare images of one size, each as :meth:`apply` does.

        Args:
            images: Shape ``(N, W, H, C)``, of a dtype that :meth:`apply` takes.

        Returns:
            Images, shape ``(N, C, W, H)``, float32.
        """
        if self.channels is not None:
            images = with_channels(images, self.channels)
        values = self._normalized(images)
        if self.mean is not None and self.scale is not None:
            values = (values - np.array(self.mean)) / np.array(self.scale)
        if self.premultiply and values.shape[-1] == 4:
            values = np.concatenate([values[..., :3] * values[..., 3:], values[..., 3:]], axis=-1)
        channels_first = np.moveaxis(values.astype(np.float32, copy=False), -1, 1)
        prepared = torch.from_numpy(np.ascontiguousarray(channels_first))
        if self.resize is None:
            return prepared
        return torch.stack([resize_linear(each, self.resize) for each in prepared])

    def _normalized(self, images: Array) -> Array:
        if self.raw:
            return images
        if resolved(self.normalize, images.dtype) == "none":
            return to_unit_range(images)
        # One by one: what becomes of an image must not depend on the others, to the last bit.
        return np.stack([normalized(image, self.normalize) for image in images])

    def apply_to_labels(self, labels: Array | Tensor) -> Tensor:
        """Bring labels of cells, classes or depths, to the size of a prepared image.

        Args:
            labels: Shape ``(..., W, H)``.

        Returns:
            Labels of the same dtype: the nearest ones.
        """
        plane = labels if isinstance(labels, Tensor) else torch.from_numpy(np.array(labels))
        return plane if self.resize is None else resize_nearest(plane, self.resize)

    def restore(
        self, output: Tensor, size: Sequence[int], *, nearest: bool | None = None
    ) -> Tensor:
        """Bring what a model says of a prepared image to the size of the image itself.

        Args:
            output: One value a cell, shape ``(..., W, H)``.
            size: Width and height of the image before it was prepared.
            nearest: Whether to take the nearest values; linear interpolation otherwise. None:
                nearest for integers and bool, such as masks, linear for floating point, such as
                probabilities and depths.

        Returns:
            Shape ``(..., *size)``; ``output`` itself if it has that size.
        """
        nearest = not output.is_floating_point() if nearest is None else nearest
        return resize_nearest(output, size) if nearest else resize_linear(output, size)

    def is_plain(self, image: Array) -> bool:
        """Return whether an image ``(W, H, C)`` stays as it is but for :func:`to_unit_range`."""
        width, height, channels = image.shape
        return (
            resolved(self.normalize, image.dtype) == "none"
            and not (self.raw or self.mean or (self.premultiply and channels == 4))
            and self.channels in (None, channels)
            and self.resize in (None, (width, height))
        )

    # How it is kept

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments as data that JSON can hold."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Rebuild what :meth:`to_dict` described.

        Raises:
            ValueError: If it holds anything else.
        """
        known = [field.name for field in fields(cls)]
        if not isinstance(data, Mapping) or not set(data) <= set(known):
            raise ValueError(f"preparation must hold {', '.join(known)}, got {data!r:.80}")
        try:
            return cls(**data)
        except (TypeError, ValueError) as error:
            raise ValueError(f"preparation.{error}") from error

    def describe(self) -> str:
        """Return what is done as a line for people.

        >>> Preparation(channels=1, normalize="percentile", resize=(24, 32)).describe()
        '1 channel, each image by its percentiles, resized to 24 x 32'
        """
        count = self.channels or 0
        steps = [
            f"{count} channel{'s' if count > 1 else ''}" if count else "",
            "values as they are" if self.raw else _WORDS[self.normalize],
            "less the mean, by the scale of each channel" if self.mean else "",
            "colours times opacity" if self.premultiply else "",
            "resized to {} x {}".format(*self.resize) if self.resize else "",
            f"without repeating the transform {self.transform}" if self.transform else "",
        ]
        return ", ".join(filter(None, steps))


PREPARATION_KEY = "preparation"
"""Under which name the description of a model has its preparation."""


def read_preparation(config: Mapping[str, Any]) -> Preparation | None:
    """Return the preparation in the description of a model; None if it has none.

    Raises:
        ValueError: If it is broken.
    """
    data = config.get(PREPARATION_KEY)
    return None if data is None else Preparation.from_dict(data)


_WORDS: dict[str, str] = {
    "none": "integers to [0, 1] by their type",
    "auto": "8 bits to [0, 1], 16 bits by the percentiles of each image",
    "range": "each image by its lowest and highest value",
    "percentile": "each image by its percentiles",
    "standardize": "each image to mean 0 and deviation 1",
}


def _set(preparation: Preparation, name: str, value: Any) -> None:
    """Keep a converted argument of a frozen dataclass."""
    object.__setattr__(preparation, name, value)
