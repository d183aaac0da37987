"""Pictures and depth maps on disk."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".npy", ".npz")

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
# What Pillow, numpy and zipfile raise for broken files.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    BadZipFile,
    Image.DecompressionBombError,
)


def read_image(path: Path, channels: int = 3) -> np.ndarray:
    """Read a picture.

    Args:
        path: File in a format that Pillow reads.
        channels: 1 for grey, 3 for RGB, 4 for RGBA.

    Returns:
        Image, shape ``(W, H, channels)``, W downwards, uint8; float32 in [0, 1] for a file of 16
        bits, which has to be grey.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, with its name and the reason.
    """
    if not path.is_file():
        raise FileNotFoundError(f"image must be a file, got {path}")
    try:
        with Image.open(path) as file:
            if file.mode == "F":
                raise ValueError("it must have 8 or 16 bits, got floating point")
            deep = file.mode.startswith("I")
            pixels = np.array(file if deep else file.convert(_MODES[channels]))
            if pixels.max() > 65535:
                raise ValueError(f"it must have 8 or 16 bits, got values up to {pixels.max()}")
    except _UNREADABLE as error:
        raise ValueError(
            f"image must be a picture that can be read, got {path}: {error}"
        ) from error
    if deep:
        grey = pixels[..., None].astype(np.float32) / 65535
        pixels = grey.repeat(min(channels, 3), axis=2)
        if channels == 4:
            pixels = np.concatenate([pixels, np.ones_like(grey)], axis=2)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def read_depth(path: Path, scale: float = 1.0) -> np.ndarray:
    """Read a depth map.

    Args:
        path: Grey picture (.png, .tif; of 16 bits, for example), .npy, or .npz with one array, or
            with one that is called "depth".
        scale: Depth of one count, for files of integers, such as 0.001 for millimetres if depth
            is wanted in metres. Floating-point files are taken as they are.

    Returns:
        Depth, shape ``(W, H)``, W downwards, float32. Unknown depth is 0, negative, NaN or
        infinite.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read or is no depth map, with its name and the reason.
    """
    if not path.is_file():
        raise FileNotFoundError(f"depth must be a file, got {path}")
    try:
        depth = _read_array(path) if path.suffix.lower() in (".npy", ".npz") else _read_grey(path)
    except _UNREADABLE as error:
        raise ValueError(f"depth must be a map that can be read, got {path}: {error}") from error
    if depth.ndim == 3 and 1 in (depth.shape[0], depth.shape[2]):
        depth = depth.squeeze(0 if depth.shape[0] == 1 else 2)
    if depth.ndim != 2 or depth.size == 0:
        raise ValueError(f"depth must have shape (W, H), got {depth.shape} in {path}")
    if np.issubdtype(depth.dtype, np.integer):
        return (depth * np.float64(scale)).astype(np.float32)
    if not np.issubdtype(depth.dtype, np.floating):
        raise ValueError(f"depth must be numbers, got {depth.dtype} in {path}")
    return depth.astype(np.float32)


def _read_grey(path: Path) -> np.ndarray:
    with Image.open(path) as file:
        if len(file.getbands()) != 1 or file.mode == "P":
            raise ValueError(f"it must have one channel, got {file.mode}")
        return np.array(file)


def _read_array(path: Path) -> np.ndarray:
    # Opened here: numpy leaves a broken archive open. Nothing is unpickled.
    with path.open("rb") as file:
        content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        names = content.files
        if "depth" not in names and len(names) != 1:
            raise ValueError(f"it must hold one array or one called 'depth', got {names}")
        array: np.ndarray = content["depth" if "depth" in names else names[0]]
        return array
