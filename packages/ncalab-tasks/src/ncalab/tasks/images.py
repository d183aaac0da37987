"""Image files as arrays, and arrays as tensors: what every task that reads pictures needs."""

from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ncalab.core import Preparation

Array = np.ndarray

# Pillow's modes whose arrays hold intensities; all others are converted to colours first.
_INTENSITIES = ("L", "I", "F", "RGB", "RGBA")
_WITH_OPACITY = ("LA", "La", "PA", "RGBa")


def image_suffixes() -> frozenset[str]:
    """Return the suffixes of files that can be read, lower case, with their dot.

    >>> {".png", ".jpg", ".tif"} <= image_suffixes()
    True
    """
    known = Image.registered_extensions()
    return frozenset(suffix for suffix, name in known.items() if name in Image.OPEN)


def _decode(path: Path) -> tuple[Image.Image, str | None]:
    """Read a file with one image in it; return that and the name of its format."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        with Image.open(path) as file:
            pages = getattr(file, "n_frames", 1)
            file.load()
            # Cameras append a preview to the one image of an MPO file.
            if pages == 1 or file.format == "MPO":
                return file.copy(), file.format
    except Exception as error:  # broken files make Pillow's decoders raise nearly anything
        raise ValueError(f"{path} cannot be read as an image ({error})") from error
    raise ValueError(f"{path} must hold one image, got {pages} pages")


def _native(array: Array) -> Array:
    """Return an array in the byte order of the machine."""
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def read_image(path: Path) -> Array:
    """Read an image file.

    Args:
        path: File in any format that Pillow reads. 16-bit grey images keep their 16 bits;
            palettes, CMYK and the like become RGB (RGBA with opacity).

    Returns:
        Image, shape ``(W, H, C)`` with C = 1, 3 or 4; uint8, uint16 or float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, has several pages, integers beyond 16 bits, or values
            that are not finite.
    """
    image, _ = _decode(path)
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode in _WITH_OPACITY or "transparency" in image.info:
        image = image.convert("RGBA")
    elif image.mode not in _INTENSITIES and not image.mode.startswith("I;16"):
        image = image.convert("RGB")
    # A copy: transforms may write into it, Pillow's own memory is read-only.
    array = _native(np.array(image))
    if array.dtype == np.int32:
        if array.min() < 0 or array.max() > 65535:
            raise ValueError(
                f"{path} must have values of 16 bits, got {array.min()} to {array.max()}"
            )
        array = array.astype(np.uint16)
    if not np.isfinite(array).all():
        raise ValueError(f"{path} must have finite values")
    return array if array.ndim == 3 else array[..., None]


def read_labels(path: Path) -> tuple[Array, bool]:
    """Read an image file whose values are labels, as they are stored.

    Args:
        path: File in any format that Pillow reads. Of a palette, the indices are the labels; a
            colour image must be grey, and is read as such.

    Returns:
        Labels, shape ``(W, H)``, of an integer dtype; and whether the format may have changed
        them (JPEG).

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, has several pages, is coloured or holds fractions.
    """
    image, kind = _decode(path)
    if kind in ("JPEG", "MPO"):
        return np.asarray(image.convert("L")), True
    array = _native(np.asarray(image))
    if array.ndim == 3:
        colors = array[..., :3] if array.shape[2] >= 3 else array[..., :1]
        if not (colors == colors[..., :1]).all():
            raise ValueError(f"{path} must have one channel of labels, got colours ({image.mode})")
        array = colors[..., 0]
    if np.issubdtype(array.dtype, np.floating):
        if not (array == np.floor(array)).all():
            raise ValueError(f"{path} must hold whole numbers as labels, got fractions")
        array = array.astype(np.int32)
    return array.astype(np.uint8) if array.dtype == np.bool_ else array, False


def image_to_tensor(image: Array | Tensor) -> Tensor:
    """Bring an image into the shape and range that models take.

    Args:
        image: Array ``(W, H)`` or ``(W, H, C)``, or tensor ``(C, W, H)``. Values of uint8, uint16
            and bool are scaled to [0, 1]; floating-point values are taken as they are.

    Returns:
        Image, shape ``(C, W, H)``, float32.

    Raises:
        TypeError: If it is neither array nor tensor, or of another dtype.
        ValueError: If it has another number of axes.

    >>> image_to_tensor(np.full((2, 3), 51, np.uint8))[0, 0].tolist()
    [0.20000000298023224, 0.20000000298023224, 0.20000000298023224]
    """
    return Preparation().apply(image)
