"""GIF files, written frame by frame.

Pillow's own writer keeps all frames until the last one is there. This one keeps two.
"""

import struct
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
from PIL import Image
from PIL.GifImagePlugin import getdata

Array = np.ndarray

LONGEST_FRAME = 655350
"""Longest time of a frame in milliseconds: hundredths of a second in 16 bits."""
# One of the 256 colours of a frame is for pixels that stay as they are.
_COLORS = 255
# Of more colours, a tenth of a second is too long to wait for better ones.
_MOST_TO_COVER = 4096


def frame_time(milliseconds: float) -> int:
    """Round a time to what a GIF can hold: hundredths of a second, at least one.

    >>> frame_time(33), frame_time(4)
    (30, 10)
    """
    return max(1, round(milliseconds / 10)) * 10


def write_gif(
    file: BinaryIO, images: Iterable[Image.Image], times: Iterable[int], *, repeat: bool
) -> None:
    """Write an animation.

    Each frame has colours of its own, and holds only the rectangle that changed.

    Args:
        file: Binary file.
        images: RGB images of one size, at least one.
        times: Time of each in milliseconds, each at most ``LONGEST_FRAME``.
        repeat: Whether it is shown for ever, or once.
    """
    shown: Array | None = None
    for image, time in zip(images, times, strict=True):
        pixels = np.asarray(image)
        if shown is None:
            file.write(_header(image.size, repeat=repeat))
            changed = np.ones(pixels.shape[:2], dtype=bool)
        else:
            changed = (pixels != shown).any(axis=-1)
        file.writelines(_frame(pixels, changed, time, first=shown is None))
        shown = pixels
    file.write(b";")


def _header(size: tuple[int, int], *, repeat: bool) -> bytes:
    # No common colours, no background, square pixels.
    header = b"GIF89a" + struct.pack("<HHBBB", *size, 0, 0, 0)
    # Without this extension, a GIF is played once; 0 means for ever.
    endless = b"!\xff\x0bNETSCAPE2.0" + struct.pack("<BBHB", 3, 1, 0, 0)
    return header + endless if repeat else header


def _frame(pixels: Array, changed: Array, time: int, *, first: bool) -> list[bytes]:
    """Encode the smallest rectangle that holds all changes; one still pixel if there are none."""
    rows, columns = (np.flatnonzero(changed.any(axis=axis)) for axis in (1, 0))
    top, left = (int(places[0]) if places.size else 0 for places in (rows, columns))
    bottom, right = (int(places[-1]) + 1 if places.size else 1 for places in (rows, columns))
    still = ~changed[top:bottom, left:right]
    part = pixels[top:bottom, left:right].copy()
    if not still.all():
        # No colour is wasted on pixels that are not drawn.
        part[still] = part[~still][0]
    indices = _color_numbers(Image.fromarray(part), first=first)
    palette = _mean_colors(part, indices)
    indices[still] = len(palette)
    frame = Image.fromarray(indices, "P")
    frame.putpalette([*palette.ravel().tolist(), 0, 0, 0])
    options = {"transparency": len(palette)} if still.any() else {}
    return getdata(frame, (left, top), duration=time, include_color_table=True, **options)


def _color_numbers(image: Image.Image, *, first: bool) -> Array:
    """Reduce the colours of an image; return the number of each pixel's, shape ``(w, h)``.

    Maximum coverage bounds the error of each colour (median cut turns rare ones, such as the
    legend's), but needs long for many colours. The first frame is worth that: it holds all that
    stays.
    """
    few = first or image.getcolors(_MOST_TO_COVER) is not None
    method = Image.Quantize.MAXCOVERAGE if few else Image.Quantize.FASTOCTREE
    return np.array(image.quantize(_COLORS, method))


def _mean_colors(pixels: Array, numbers: Array) -> Array:
    """Return the mean of the pixels of each number: a background comes out as it was.

    >>> _mean_colors(np.uint8([[[9, 0, 0], [9, 0, 0], [1, 2, 3]]]), np.uint8([[0, 0, 1]])).tolist()
    [[9, 0, 0], [1, 2, 3]]
    """
    numbers, channels = numbers.ravel(), pixels.reshape(-1, 3).T
    sizes = np.maximum(np.bincount(numbers), 1)
    means = [np.bincount(numbers, weights=channel) / sizes for channel in channels]
    return np.round(np.stack(means, axis=1)).astype(np.uint8)
