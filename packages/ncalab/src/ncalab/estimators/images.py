"""Arrays as users of scikit-learn have them, and the images that a model sees."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ncalab.core import Preparation
from ncalab.core.checks import check_int
from ncalab.core.intensities import Normalization, normalized
from ncalab.tasks.preparing import used_range, warn_of_range

ARRAY_NORMALIZATIONS = ("range", "percentile", "standardize", "none")
"""Preparation of images by an estimator; arrays do not say how many bits their files had."""


class ImageShape(NamedTuple):
    """Size of an image, channels last."""

    width: int
    height: int
    channels: int


def read_image_shape(value: Any) -> ImageShape | None:
    """Return the argument ``image_shape`` as three numbers, or None.

    Args:
        value: ``(W, H)``, ``(W, H, C)`` or None.

    Raises:
        TypeError: If it is nothing of the kind.
        ValueError: If a number is below 1.

    >>> read_image_shape((8, 6))
    ImageShape(width=8, height=6, channels=1)
    """
    if value is None:
        return None
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) not in (2, 3):
        raise TypeError(f"image_shape must be (W, H), (W, H, C) or None, got {value!r}")
    sizes = [check_int(f"image_shape[{i}]", size, minimum=1) for i, size in enumerate(value)]
    return ImageShape(sizes[0], sizes[1], sizes[2] if len(sizes) == 3 else 1)


def number_of_axes(x: Any) -> int:
    """Return the number of axes of an array, data frame, sparse matrix or nested list.

    Raises:
        ValueError: If it is a list of arrays of several shapes.

    >>> number_of_axes([[1.0, 2.0]])
    2
    """
    if hasattr(x, "ndim"):
        return int(x.ndim)
    if isinstance(x, list | tuple):
        shapes = {each.shape: None for each in x if isinstance(each, np.ndarray)}
        if len(shapes) > 1:
            first, other, *_ = shapes
            raise ValueError(
                f"X must hold samples of one shape, got {first} and {other}; crop or resize images "
                "to one size"
            )
    return np.asarray(x).ndim


def as_images(x: NDArray[Any], shape: ImageShape | None) -> NDArray[Any]:
    """Bring an array to the shape ``(N, W, H, C)``.

    Args:
        x: Images ``(N, W, H)`` or ``(N, W, H, C)``, or flat ones ``(N, features)``.
        shape: What flat ones are images of. None: each is one cell with a channel per feature.

    Raises:
        ValueError: If flat images have another number of features, or ``x`` other axes.

    >>> as_images(np.zeros((5, 64)), ImageShape(8, 8, 1)).shape
    (5, 8, 8, 1)
    >>> as_images(np.zeros((5, 64)), None).shape
    (5, 1, 1, 64)
    """
    if x.ndim == 3:
        return x[..., None]
    if x.ndim == 4:
        return x
    if x.ndim != 2:
        raise ValueError(
            f"X must have shape (N, W, H), (N, W, H, C) or (N, features), got {x.shape}"
        )
    if shape is None:
        return x[:, None, None, :]
    width, height, channels = shape
    if x.shape[1] != width * height * channels:
        raise ValueError(
            f"image_shape must have as many values as X has features, {x.shape[1]}, "
            f"got {tuple(shape)}"
        )
    return x.reshape(-1, width, height, channels)


class Standardization(NamedTuple):
    """Mean and standard deviation of each channel, to subtract and divide by."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]

    @classmethod
    def of(cls, images: NDArray[Any], *, enabled: bool) -> "Standardization":
        """Measure images ``(N, W, H, C)``; if not enabled, return what changes nothing.

        A constant channel is only shifted.

        >>> Standardization.of(np.array([[[[1.0, 5.0]]], [[[3.0, 5.0]]]]), enabled=True).scale
        array([1., 1.])
        """
        channels = images.shape[-1]
        if not enabled:
            return cls(np.zeros(channels), np.ones(channels))
        axes = (0, 1, 2)
        mean = images.mean(axis=axes, dtype=np.float64)
        # Two passes: the difference of two large sums would be lost in rounding.
        deviation = np.sqrt(np.square(images - mean).mean(axis=axes))
        tiny = deviation <= 1e-7 * np.abs(mean)
        return cls(mean, np.where(tiny, 1.0, deviation))


def learn_preparation(
    images: NDArray[Any], normalize: Normalization, *, standardize: bool
) -> tuple[Preparation, Standardization]:
    """Return what is to be done to images like these before a model sees them.

    Args:
        images: Training images, shape ``(N, W, H, C)``, float32.
        normalize: What is done to each image by its own statistics.
        standardize: Whether each channel is then standardised by those of all.

    Returns:
        The preparation, and the statistics of all.

    Raises:
        ValueError: If each image is a single cell, which has no statistics, and is normalised.

    >>> learn_preparation(np.zeros((2, 3, 3, 1)), "none", standardize=False)[0].describe()
    '1 channel, integers to [0, 1] by their type'
    """
    if normalize != "none" and images.shape[1:3] == (1, 1):
        raise ValueError(
            "normalize must be 'none' for samples of a single cell, such as the rows of a table, "
            f"got {normalize!r}"
        )
    # Images in [0, 1] are taken for files that were scaled to it, others for the files' values.
    raw = normalize == "none" and not (images.min() >= 0 and images.max() <= 1)
    plain = Preparation(channels=images.shape[3], normalize=normalize, raw=raw)
    each = images if normalize == "none" else [normalized(image, normalize) for image in images]
    seen = np.asarray(each)
    statistics = Standardization.of(seen, enabled=standardize)
    if not standardize:
        warn_of_range("images of X", plain, [used_range(images)])
        return plain, statistics
    mean, scale = (tuple(numbers.tolist()) for numbers in statistics)
    return replace(plain, mean=mean, scale=scale), statistics
