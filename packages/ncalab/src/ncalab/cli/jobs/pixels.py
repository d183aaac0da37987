"""From predictions to the pixels of files."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from ncalab.core.saving import atomic_write
from ncalab.viz.colors import class_colors
from ncalab.viz.images import to_bytes

Array = np.ndarray

_LARGEST_COUNT = 65535


def mask_image(mask: Array, classes: int) -> Image.Image:
    """Return a mask as a picture.

    Args:
        mask: Class of each pixel, shape ``(W, H)``, in [0, classes).
        classes: Number of classes.

    Returns:
        Of two classes, black and white; of up to 256, a palette whose indices are the classes;
        beyond, 16 bits.

    >>> mask_image(np.array([[0, 2]]), 3).mode, mask_image(np.array([[0, 1]]), 2).getextrema()
    ('P', (0, 255))
    """
    if classes == 2:
        return Image.fromarray((mask * 255).astype(np.uint8))
    if classes > 256:
        return Image.fromarray(mask.astype(np.uint16))
    image = Image.fromarray(mask.astype(np.uint8)).convert("L")
    colors = np.vstack([np.zeros((1, 3)), class_colors(classes - 1)])
    image.putpalette(to_bytes(colors).tobytes())
    return image


def depth_counts(depth: Array, unit: float) -> Array:
    """Return depths as 16-bit counts; what is not above 0 is 0, as unknown depths are.

    Args:
        depth: Shape ``(W, H)``, floating point.
        unit: What a count stands for.

    Raises:
        ValueError: If a depth is too large for 16 bits.

    >>> depth_counts(np.array([[2.5, -1.0]]), 0.001).tolist()
    [[2500, 0]]
    """
    counts = np.round(np.maximum(depth, 0) / unit)
    if counts.max() > _LARGEST_COUNT:
        raise ValueError(
            f"--depth-unit must be at least {depth.max() / _LARGEST_COUNT:.3g} for a depth of "
            f"{depth.max():.4g} in 16 bits, got {unit}"
        )
    return np.asarray(counts, dtype=np.uint16)


def straight(image: Array) -> Array:
    """Return an image as files have it: colours not multiplied by opacity, no axis of one channel.

    Args:
        image: Shape ``(W, H, C)``, range [0, 1]; of four channels, with premultiplied colours.

    >>> straight(np.array([[[0.25, 0.0, 0.5, 0.5]]])).tolist()
    [[[0.5, 0.0, 1.0, 0.5]]]
    """
    if image.shape[-1] == 1:
        return np.asarray(image[..., 0])
    if image.shape[-1] != 4:
        return image
    opacity = image[..., 3:]
    colors = np.divide(
        image[..., :3], opacity, out=np.zeros_like(image[..., :3]), where=opacity > 0
    )
    return np.asarray(np.concatenate([np.clip(colors, 0, 1), opacity], axis=-1))


def write_png(path: Path, image: Image.Image) -> None:
    """Write a picture, in whole or not at all."""
    data = io.BytesIO()
    image.save(data, "PNG")
    atomic_write(path, data.getvalue())


def write_array(path: Path, array: Array) -> None:
    """Write a .npy file, in whole or not at all."""
    data = io.BytesIO()
    np.save(data, array)
    atomic_write(path, data.getvalue())
