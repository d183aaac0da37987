"""Conversion of each kind of pixel: one table for all tasks.

===========================================  ==============================  =================
stored in the file                           read as                         in [0, 1] through
===========================================  ==============================  =================
1 bit                                        grey, uint8: 0 and 255          / 255
8 bits, grey or RGB                          uint8                           / 255
palette, CMYK, YCbCr, Lab, HSV               RGB, uint8                      / 255
grey, RGB or palette with opacity            RGBA, uint8                     / 255
16 bits, grey                                uint16                          / 65535
16 bits, grey, one value of it transparent   RGBA, uint16                    / 65535
16 bits, RGB, or any with opacity            the upper 8 bits (told in the   / 255
                                             log; refused if they are empty)
integers of 32 bits                          uint16, if all fit into it,     / 65535
                                             refused otherwise
floating point                               float32, finite                 as they are
===========================================  ==============================  =================

The depth of each file decides alone: files of 8 and of 16 bits go together in one folder.
"""

import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ncalab.core.intensities import to_unit_range, with_channels
from ncalab.tasks.images.decoding import MAX_PIXELS, decode

Array = np.ndarray

logger = logging.getLogger(__name__)

_AS_STORED = ("L", "RGB")
_WITH_OPACITY = ("LA", "La", "PA", "RGBa")
_LARGEST = 65535
# Pictures of at most 12 bits in 16 have less than this in their upper 8.
_FEWEST_LEVELS = 16


def read_image(
    path: Path | str, *, page: int | None = None, max_pixels: int | None = MAX_PIXELS
) -> Array:
    """Read an image file, upright, as every data set and command does.

    The table of ``ncalab.tasks.images.pixels`` says what each kind of pixel becomes.

    Args:
        path: File in any format that Pillow reads.
        page: Page or frame of a file with several, from 0; must be given for such a file.
        max_pixels: Pixels that the image may have at most, None for any number: a small file can
            hold a picture that fills the memory.

    Returns:
        Image, shape ``(W, H, C)`` with C = 1 (grey), 3 (RGB) or 4 (RGBA); uint8, uint16 or
        float32. The dtype is the depth of the file: integers over their largest value are in
        [0, 1], floating-point values are as they are.

    Raises:
        FileNotFoundError: If the file does not exist.
        TypeError: If an option is not an integer.
        ValueError: If it cannot be read, has several pages, too many pixels, integers beyond 16
            bits, or values that are not finite.
    """
    path = Path(path)
    decoded = decode(path, page=page, max_pixels=max_pixels)
    array = pixels_of(decoded.image, path)
    if decoded.deep:
        _warn_of_lost_bits(array, path)
    return array


def pixels_of(image: Image.Image, path: Path) -> Array:
    """Return the pixels of a decoded image, shape ``(W, H, C)``, by the table of this module.

    Raises:
        ValueError: If it has integers beyond 16 bits or values that are not finite; it names
            ``path``.
    """
    transparent = image.info.get("transparency")
    if image.mode.startswith("I;16"):
        array = _native(np.array(image))
        return array[..., None] if transparent is None else _with_opacity(array, transparent)
    # A copy: transforms may write into it, Pillow's own memory is read-only.
    array = _native(np.array(_converted(image, path)))
    if array.dtype == np.int32:
        array = _as_16_bits(array, path)
    if not np.isfinite(array).all():
        raise ValueError(f"{path} must have finite values")
    return array if array.ndim == 3 else array[..., None]


def _converted(image: Image.Image, path: Path) -> Image.Image:
    mode = image.mode
    if mode in ("I", "F", "RGBA"):
        return image
    if mode == "1":
        return image.convert("L")
    if mode in _WITH_OPACITY or "transparency" in image.info:
        return image.convert("RGBA")
    try:
        return image if mode in _AS_STORED else image.convert("RGB")
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _native(array: Array) -> Array:
    """Return an array in the byte order of the machine."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _as_16_bits(array: Array, path: Path) -> Array:
    """Return integers of 32 bits as what most of them are: counts of 16 bits."""
    if array.min() < 0 or array.max() > _LARGEST:
        raise ValueError(
            f"{path} must have values of 16 bits, got {array.min()} to {array.max()}; save it as "
            "floating point in [0, 1]"
        )
    return array.astype(np.uint16)


def _with_opacity(grey: Array, transparent: int) -> Array:
    """Return grey ``(W, H)`` as RGBA, with no opacity where it has a value."""
    opacity = np.where(grey == transparent, 0, _LARGEST).astype(grey.dtype)
    return np.stack([grey, grey, grey, opacity], axis=-1)


def _warn_of_lost_bits(array: Array, path: Path) -> None:
    """Tell that 16 bits were read as 8; raise if nothing to speak of is left in them."""
    colors = array[..., :3]
    if 0 < int(colors.max()) < _FEWEST_LEVELS:
        raise ValueError(
            f"{path} must have colours of 8 bits, or grey: of its 16 bits only the upper 8 are "
            "read, and they hold nearly nothing; stretch its values to the whole range"
        )
    logger.warning("%s has 16 bits for each colour, of which the upper 8 are read", path)


def read_images(
    paths: Iterable[Path | str],
    *,
    channels: int | None = None,
    page: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> Array:
    """Read image files of one size, as estimators take them.

    Args:
        paths: The files.
        channels: 1 for grey, 3 for RGB, 4 for RGBA: what all are brought to. None: as they are.
        page: As of :func:`read_image`.
        max_pixels: As of :func:`read_image`.

    Returns:
        Images, shape ``(N, W, H, C)``, float32: each file scaled to [0, 1] by its own depth, so
        that files of several depths go together; those of floating point as they are.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If one cannot be read (see :func:`read_image`), they differ in size or
            channels, or there are none.
    """
    files = [Path(path) for path in paths]
    if not files:
        raise ValueError("paths must name at least one image, got none")
    images = [to_unit_range(read_image(f, page=page, max_pixels=max_pixels)) for f in files]
    if channels is not None:
        images = [with_channels(image, channels) for image in images]
    for file, image in zip(files, images, strict=True):
        if image.shape != images[0].shape:
            raise ValueError(
                f"images must have one shape, got {images[0].shape} in {files[0]} and "
                f"{image.shape} in {file}"
            )
    return np.stack(images)


def stack_images(images: Sequence[Array]) -> Array:
    """Stack images of one shape; of several depths as float32, each scaled by its own.

    >>> eight, sixteen = np.full((1, 1, 1), 51, np.uint8), np.full((1, 1, 1), 13107, np.uint16)
    >>> stack_images([eight, sixteen]).ravel().tolist()
    [0.20000000298023224, 0.20000000298023224]
    """
    if len({image.dtype for image in images}) > 1:
        images = [to_unit_range(image) for image in images]
    return np.stack(images)
