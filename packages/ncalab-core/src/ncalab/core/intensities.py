"""The values of an image: their channels, and how they become numbers that a model learns from."""

from typing import Any, Literal, get_args

import numpy as np
from torch import Tensor

Array = np.ndarray

Normalization = Literal["auto", "range", "percentile", "standardize", "none"]
"""Normalisation of the values of an image; see :func:`normalized`."""

NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)

PERCENTILES = (0.5, 99.5)
"""Percentiles of an image that "percentile" maps to 0 and 1: few enough to pass over hot pixels."""

_PICTURES = (1, 3, 4)
_OPACITY = 3
# Of red, green and blue in grey: ITU-R BT.601, in the fractions that Pillow converts by.
_LUMA = np.array([19595, 38470, 7471]) / 65536


def channels_last(image: Any) -> Array:
    """Return an image as an array with its channels last.

    Args:
        image: Array ``(W, H)`` or ``(W, H, C)``, or tensor ``(C, W, H)`` or ``(W, H)``.

    Returns:
        Array, shape ``(W, H, C)``.

    Raises:
        TypeError: If it is neither array nor tensor.
        ValueError: If it has another number of axes.

    >>> channels_last(np.zeros((4, 9))).shape
    (4, 9, 1)
    """
    if isinstance(image, Tensor):
        # An array: torch's unsigned 16-bit integers lack most operations.
        image = image.detach().cpu().numpy()
        image = np.moveaxis(image, 0, -1) if image.ndim == 3 else image
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"image must be an array (W, H, C) or a tensor (C, W, H), got {type(image).__name__}"
        )
    if image.ndim not in (2, 3):
        raise ValueError(f"image must have shape (W, H) or (W, H, C), got {image.shape}")
    return image if image.ndim == 3 else image[..., None]


def with_channels(image: Array, channels: int) -> Array:
    """Bring a picture to a number of channels, where that has one meaning.

    Args:
        image: Picture, shape ``(..., W, H, C)``: grey (C = 1), RGB (3) or RGBA (4).
        channels: Number of channels wanted, 1, 3 or 4. Grey is copied into red, green and blue;
            colours become grey by their luma (ITU-R BT.601); transparent pixels become black, as
            in masks; an opacity that is missing is full.

    Returns:
        Picture of the same dtype, shape ``(..., W, H, channels)``; ``image`` itself if it has
        that shape.

    Raises:
        ValueError: If one of the two is not a picture of this kind.

    >>> with_channels(np.array([[[200, 100, 0, 127]]], np.uint8), 3).tolist()
    [[[100, 50, 0]]]
    >>> with_channels(np.array([[[7]]], np.uint8), 4).tolist()
    [[[7, 7, 7, 255]]]
    """
    has = image.shape[-1]
    if has == channels:
        return image
    if has not in _PICTURES or channels not in _PICTURES:
        raise ValueError(f"image must have {channels} channels, got {has}")
    top = np.iinfo(image.dtype).max if np.issubdtype(image.dtype, np.integer) else 1
    if has == _OPACITY + 1:
        colors = image[..., :_OPACITY] * (image[..., _OPACITY:] / np.float64(top))
        image = _rounded(colors, image.dtype)
    if channels == 1:
        return _rounded((image * _LUMA).sum(axis=-1, keepdims=True), image.dtype)
    colors = image if image.shape[-1] == _OPACITY else image.repeat(_OPACITY, axis=-1)
    if channels == _OPACITY:
        return colors
    return np.concatenate([colors, np.full_like(colors[..., :1], top)], axis=-1)


def _rounded(values: Array, dtype: np.dtype[Any]) -> Array:
    whole = np.issubdtype(dtype, np.integer)
    return np.asarray(np.floor(values + 0.5) if whole else values).astype(dtype)


def to_unit_range(image: Array) -> Array:
    """Convert values to float32, those of integers to [0, 1] by the largest value of their type.

    Args:
        image: Any shape; bool, uint8, uint16, or floating point, which is taken as it is.

    Raises:
        TypeError: If it is of another dtype, whose range says nothing.

    >>> to_unit_range(np.array([0, 51, 255], np.uint8)).tolist()
    [0.0, 0.20000000298023224, 1.0]
    """
    if image.dtype == np.bool_ or np.issubdtype(image.dtype, np.floating):
        return image.astype(np.float32)
    if image.dtype in (np.uint8, np.uint16):
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    raise TypeError(f"image must be uint8, uint16 or floating point, got {image.dtype}")


def resolved(kind: Normalization, dtype: np.dtype[Any]) -> Normalization:
    """Return what "auto" stands for: "percentile" for integers of 16 bits, otherwise "none".

    Integers of 16 bits are mostly measurements of 10 to 14 bits, or with an offset, which use a
    small part of their range, and another one in each image; pictures of 8 bits are mostly
    exposed to fill theirs.

    >>> resolved("auto", np.dtype(np.uint16)), resolved("auto", np.dtype(np.uint8))
    ('percentile', 'none')
    """
    if kind != "auto":
        return kind
    return "percentile" if dtype == np.uint16 else "none"


def normalized(image: Array, kind: Normalization) -> Array:
    """Normalise the values of each image by its own statistics.

    Colours (3 or 4 channels) are treated alike, so that hues stay; other channels each on its
    own. An opacity (the last of 4 channels) stays as it is. A constant image becomes zero.

    Args:
        image: Images, shape ``(..., W, H, C)``; bool, uint8, uint16 or floating point.
        kind: "none": as :func:`to_unit_range` has them. "range": the lowest value becomes 0, the
            highest 1. "percentile": the same with the 0.5th and the 99.5th percentile; what lies
            beyond continues linearly and is cut off at -1 and 2. "standardize": mean 0, standard
            deviation 1. "auto": see :func:`resolved`.

    Returns:
        Images of the same shape, float32.

    Raises:
        TypeError: If they are of another dtype.

    >>> normalized(np.array([[[400], [1600]]], np.uint16), "range").tolist()
    [[[0.0], [1.0]]]
    """
    kind = resolved(kind, image.dtype)
    unit = to_unit_range(image)
    if kind == "none":
        return unit
    colors = slice(_OPACITY) if image.shape[-1] == 4 else slice(None)
    # The values themselves, not their shares of a range: integers of 16 bits are exact so.
    values = image[..., colors].astype(np.float32)
    unit[..., colors] = _scaled(values, kind)
    return unit


def _scaled(values: Array, kind: Normalization) -> Array:
    axes = (-3, -2, -1) if values.shape[-1] == 3 else (-3, -2)
    if kind == "standardize":
        shift = values.mean(axis=axes, dtype=np.float64, keepdims=True)
        scale = np.sqrt(np.square(values - shift).mean(axis=axes, keepdims=True))
        return _affine(values, shift, np.where(scale > 1e-7 * np.abs(shift), scale, 0))
    lowest, highest = (f(values, axis=axes, keepdims=True) for f in (np.min, np.max))
    if kind == "range":
        return _affine(values, lowest, highest - lowest)
    low, high = np.percentile(values, PERCENTILES, axis=axes, keepdims=True)
    # Of a few bright points on nothing, the percentiles see the nothing only.
    few = high <= low
    low, high = np.where(few, lowest, low), np.where(few, highest, high)
    return _affine(values, low, high - low).clip(-1, 2)


def _affine(values: Array, shift: Array, scale: Array) -> Array:
    divisor = np.where(scale > 0, scale, 1)
    moved = np.where(scale > 0, values - shift, 0)
    return np.asarray(moved / divisor, dtype=np.float32)
