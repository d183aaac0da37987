"""From channels to colours: pure functions on arrays."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps

_CHANNELS = (1, 3, 4)
Array = np.ndarray
Color = Sequence[float]


def to_whc(image: Array) -> Array:
    """Return an image with its channels last.

    The last axis holds the channels if it has 1, 3 or 4 entries, otherwise the first one does: an
    array of shape (4, 9, 3) is a 4 x 9 colour image.

    Args:
        image: Shape ``(W, H)``, ``(W, H, C)`` or ``(C, W, H)``, C = 1, 3 or 4.

    Returns:
        View of shape ``(W, H, C)``.

    Raises:
        ValueError: If the shape is another.

    >>> to_whc(np.zeros((3, 7, 19))).shape, to_whc(np.zeros((4, 9, 3))).shape
    ((7, 19, 3), (4, 9, 3))
    """
    if image.ndim == 2:
        return image[..., None]
    if image.ndim == 3 and image.shape[-1] in _CHANNELS:
        return image
    if image.ndim == 3 and image.shape[0] in _CHANNELS:
        return np.moveaxis(image, 0, -1)
    raise ValueError(
        f"image must have shape (W, H), (W, H, C) or (C, W, H) with C = 1, 3 or 4, "
        f"got {image.shape}"
    )


def to_rgb_image(channels: Array, background: Color = (1.0, 1.0, 1.0)) -> Array:
    """Show channels as colours.

    Args:
        channels: Shape ``(C, W, H)``, range [0, 1]; 1 channel is grey, 3 are RGB, 4 are RGBA with
            premultiplied colours; of any other number, the first is shown as grey.
        background: Colour behind transparent cells, RGB in [0, 1].

    Returns:
        Image, shape ``(W, H, 3)``, range [0, 1].

    >>> to_rgb_image(np.zeros((4, 1, 1)), background=(1, 0.5, 0)).tolist()
    [[[1.0, 0.5, 0.0]]]
    """
    image = np.clip(np.nan_to_num(np.moveaxis(channels, 0, -1)), 0, 1)
    if image.shape[-1] == 4:
        image = np.clip(image[..., :3] + (1 - image[..., 3:]) * np.asarray(background), 0, 1)
    elif image.shape[-1] != 3:
        image = np.repeat(image[..., :1], 3, axis=-1)
    return np.asarray(image)


def normalized(image: Array) -> Array:
    """Scale values to [0, 1]; a constant image becomes zero.

    >>> normalized(np.array([-1.0, 3.0])).tolist(), normalized(np.array([-2.0, -2.0])).tolist()
    ([0.0, 1.0], [0.0, 0.0])
    """
    low, high = np.nanmin(image), np.nanmax(image)
    return (image - low) / (high - low) if high > low else np.zeros_like(image, dtype=float)


def mosaic(channels: Array, limit: float = 1.0) -> Array:
    """Show every channel as a tile in false colours, blue below zero and red above.

    Args:
        channels: Shape ``(C, W, H)``, C at least 1.
        limit: Absolute value of the darkest colours.

    Returns:
        Image, shape ``(rows * W, columns * H, 3)``, range [0, 1], in a nearly square grid.

    >>> mosaic(np.zeros((5, 2, 3))).shape
    (4, 9, 3)
    """
    count, width, height = channels.shape
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    tiles = np.zeros((rows * columns, width, height))
    tiles[:count] = np.nan_to_num(channels)
    tiles = tiles.reshape(rows, columns, width, height).transpose(0, 2, 1, 3)
    values = (tiles.reshape(rows * width, columns * height) / limit + 1) / 2
    return np.asarray(colormaps["RdBu_r"](np.clip(values, 0, 1)))[..., :3]


def blend(image: Array, mask: Array, color: Color | Array, opacity: float = 0.5) -> Array:
    """Tint an image where a mask is true.

    Args:
        image: Shape ``(W, H, 3)``, range [0, 1]; not changed.
        mask: Shape ``(W, H)``, bool.
        color: RGB in [0, 1], shape ``(3,)``, or ``(W, H, 3)`` for each cell its own.
        opacity: How much of the colour, in [0, 1].

    Returns:
        Image, shape ``(W, H, 3)``.

    >>> blend(np.zeros((1, 2, 3)), np.array([[True, False]]), (1, 0, 0)).tolist()
    [[[0.5, 0.0, 0.0], [0.0, 0.0, 0.0]]]
    """
    tint = (1 - opacity) * image + opacity * np.asarray(color)
    return np.where(mask[..., None], tint, image)


def to_bytes(image: Array) -> Array:
    """Convert values in [0, 1] to 8 bits, rounding.

    >>> to_bytes(np.array([0.0, 0.5, 1.0])).tolist()
    [0, 128, 255]
    """
    return np.asarray(np.round(np.clip(image, 0, 1) * 255), dtype=np.uint8)
