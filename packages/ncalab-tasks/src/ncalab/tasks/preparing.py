"""Preparation of the images of data sets, and warnings about their values."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from ncalab.core import Preparation
from ncalab.core.intensities import resolved, to_unit_range

Array = np.ndarray
Used = tuple[np.dtype[Any], float, float]

logger = logging.getLogger(__name__)

SMALL_SHARE = 0.1
"""Share of the range of a type below which images are said to use little of it."""

# Values of floating-point images beyond which a model hardly learns.
_FAR = 10.0
# Hot and dead pixels are passed over; so many values describe the rest of an image well enough.
_PERCENTILES = (0.1, 99.9)
_MANY = 2**18


def transform_name(transform: Callable[..., Any] | None) -> str | None:
    """Return the name under which a preparation records a transform that it does not repeat.

    Args:
        transform: Transform of a data set. One with a true attribute ``augments_only`` changes
            nothing that a prediction would have to repeat, and is not named.

    >>> transform_name(np.flip)
    'flip'
    """
    while isinstance(transform, partial):
        transform = transform.func
    if transform is None or getattr(transform, "augments_only", False):
        return None
    name: str = getattr(transform, "__name__", type(transform).__name__)
    return name


def for_transform(preparation: Preparation, image: Array) -> Array:
    """Return an image as a transform takes it.

    Args:
        preparation: Preparation of the data set.
        image: Image as it was read, shape ``(W, H, C)``.

    Returns:
        ``image`` itself where there is nothing to do but to scale its values to [0, 1], which is
        done after the transform; otherwise the prepared image, shape ``(W', H', C')``, float32.
    """
    if preparation.is_plain(image):
        return image
    return np.ascontiguousarray(np.moveaxis(preparation.apply(image).numpy(), 0, -1))


def used_range(images: Array) -> Used:
    """Return the dtype of images and between which values nearly all of theirs lie.

    Args:
        images: Shape ``(..., C)``; the last of 4 channels, an opacity, does not count.

    Returns:
        Dtype; 0.1th and 99.9th percentile, in shares of the range of an integer type.

    >>> used_range(np.array([[51], [51]], np.uint8))[1:]
    (0.2, 0.2)
    """
    colors = images[..., :3] if images.shape[-1] == 4 else images
    values = colors.reshape(-1)
    if len(values) > _MANY:
        values = values[np.random.default_rng(0).integers(0, len(values), _MANY)]
    low, high = np.percentile(to_unit_range(values), _PERCENTILES)
    return images.dtype, round(float(low), 6), round(float(high), 6)


def settled(preparation: Preparation, used: Iterable[Used]) -> Preparation:
    """Return the preparation of a data set with "auto" replaced where all its images agree.

    A model that has only seen images of 16 bits by their percentiles has to see those of any other
    depth so, too; "auto" would take them by their type.

    Args:
        preparation: What the data set was asked for.
        used: What :func:`used_range` returned of each image.

    >>> deep = used_range(np.array([[400], [1600]], np.uint16))
    >>> settled(Preparation(normalize="auto"), [deep]).normalize
    'percentile'
    """
    kinds = {resolved(preparation.normalize, dtype) for dtype, _, _ in used}
    return replace(preparation, normalize="percentile") if kinds == {"percentile"} else preparation


def warn_of_range(name: str, preparation: Preparation, used: Iterable[Used]) -> None:
    """Log a warning if nothing brings out the contrast of images that have little.

    Args:
        name: What the images are, for the warning.
        preparation: What is done to them.
        used: What :func:`used_range` returned of each.
    """
    found: dict[np.dtype[Any], tuple[float, float]] = {}
    for dtype, low, high in used:
        lowest, highest = found.get(dtype, (low, high))
        found[dtype] = min(low, lowest), max(high, highest)
    for dtype, (low, high) in found.items():
        if resolved(preparation.normalize, dtype) != "none" or preparation.mean:
            continue
        if high - low < SMALL_SHARE:
            logger.warning(
                "%s use under a tenth of their range (%s): a model may not learn from so little "
                "contrast; normalize='percentile' (or 'range', 'standardize') brings it out",
                name,
                _values(dtype, low, high),
            )
        elif max(-low, high) > _FAR:
            logger.warning(
                "%s hold values far beyond [0, 1] (%s), which are taken as they are; "
                "normalize='percentile' (or 'range', 'standardize') scales them",
                name,
                _values(dtype, low, high),
            )


def _values(dtype: np.dtype[Any], low: float, high: float) -> str:
    if dtype.kind == "f":
        return f"values from {low:.4g} to {high:.4g}"
    largest = 1 if dtype.kind == "b" else np.iinfo(dtype).max
    return f"values from {low * largest:.0f} to {high * largest:.0f} of {largest}"
