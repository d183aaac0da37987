"""Pictures and depth maps on disk."""

from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from ncalab.tasks import images
from ncalab.tasks.images import MAX_PIXELS, to_unit_range, with_channels
from ncalab.tasks.images.decoding import decode

DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".npz")

# What numpy and zipfile raise for broken files.
_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, BadZipFile)


def read_image(
    path: Path, channels: int = 3, *, page: int | None = None, max_pixels: int | None = MAX_PIXELS
) -> np.ndarray:
    """Read a picture with :func:`ncalab.tasks.images.read_image`, and convert its channels.

    Args:
        path: File in a format that Pillow reads.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.
        page: Page of a file with several, from 0.
        max_pixels: Pixels that it may have at most; None for any number.

    Returns:
        Image, shape ``(W, H, channels)``, W downwards, uint8; float32 in [0, 1] for a file of 16
        bits; float32 as it is for a file of floating point.

    Raises:
        FileNotFoundError: If the file does not exist.
        TypeError: If an option is not an integer.
        ValueError: If it cannot be read, with its name and the reason.
    """
    pixels = images.read_image(path, page=page, max_pixels=max_pixels)
    if pixels.dtype == np.uint16:
        pixels = to_unit_range(pixels)
    return with_channels(pixels, channels)


def read_depth(
    path: Path,
    scale: float = 1.0,
    *,
    page: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> np.ndarray:
    """Read a depth map.

    Args:
        path: Grey picture (.png, .tif; of 16 bits, for example), .npy, or .npz with one array, or
            with one that is called "depth".
        scale: Depth of one count, for files of integers, such as 0.001 for millimetres if depth
            is wanted in metres. Floating-point files are taken as they are.
        page: Page of a file with several, from 0. A file with one is read whatever it is, as the
            depth of an image with several.
        max_pixels: As of :func:`read_image`.

    Returns:
        Depth, shape ``(W, H)``, W downwards, float32. Unknown depth is 0, negative, NaN or
        infinite.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read or is not a depth map, with its name and the reason.
    """
    if path.suffix.lower() in (".npy", ".npz"):
        depth = _read_array(path)
    else:
        depth = _read_grey(path, page=page, max_pixels=max_pixels)
    if depth.ndim == 3 and 1 in (depth.shape[0], depth.shape[2]):
        depth = depth.squeeze(0 if depth.shape[0] == 1 else 2)
    if depth.ndim != 2 or depth.size == 0:
        raise ValueError(f"depth must have shape (W, H), got {depth.shape} in {path}")
    if np.issubdtype(depth.dtype, np.integer):
        return (depth * np.float64(scale)).astype(np.float32)
    if not np.issubdtype(depth.dtype, np.floating):
        raise ValueError(f"depth must be numbers, got {depth.dtype} in {path}")
    return depth.astype(np.float32)


def _read_grey(path: Path, *, page: int | None, max_pixels: int | None) -> np.ndarray:
    image = decode(path, page=page, max_pixels=max_pixels, beside=True).image
    if len(image.getbands()) != 1 or image.mode == "P":
        raise ValueError(f"depth must have one channel, got {image.mode} in {path}")
    return np.array(image)


def _read_array(path: Path) -> np.ndarray:
    """Read an array, never unpickling anything."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing")
    try:
        # Opened here: numpy leaves a broken archive open.
        with path.open("rb") as file:
            content = np.load(file, allow_pickle=False)
            return content if isinstance(content, np.ndarray) else _only_array(content)
    except _UNREADABLE as error:
        raise ValueError(f"depth must be a map that can be read, got {path}: {error}") from error


def _only_array(archive: Any) -> np.ndarray:
    names = archive.files
    if "depth" not in names and len(names) != 1:
        raise ValueError(f"it must hold one array or one called 'depth', got {names}")
    array: np.ndarray = archive["depth" if "depth" in names else names[0]]
    return array
