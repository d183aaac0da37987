"""The picture to grow."""

import sys
from pathlib import Path

import numpy as np

from ncalab.tasks.growing.picture import load_target


def load_emoji(path: Path, size: int, padding: int) -> np.ndarray:
    """Read a picture, scale it and surround it with empty cells.

    Args:
        path: Picture in any format that Pillow reads; without opacity it counts as opaque.
        size: Longer side of the picture in cells.
        padding: Number of empty cells on every side.

    Returns:
        Square RGBA image, shape ``(W, H, 4)``, uint8, W = H = size + 2 padding.
    """
    if size < 1 or padding < 0:
        raise SystemExit(f"--size must be at least 1 and --padding at least 0: {size}, {padding}")
    try:
        return load_target(path, size, padding, say=lambda line: print(line, file=sys.stderr))
    except (OSError, ValueError) as error:
        raise SystemExit(f"--image must be a picture that can be read: {path} ({error})") from None
