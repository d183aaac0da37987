"""The picture to grow."""

from pathlib import Path

import numpy as np
from PIL import Image

from ncalab.tasks.images import read_image, to_unit_range, with_channels


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
        pixels = with_channels(to_unit_range(read_image(path)), 4)
    except (OSError, ValueError) as error:
        raise SystemExit(f"--image must be a picture that can be read: {path} ({error})") from None
    picture = Image.fromarray(np.rint(pixels * 255).astype(np.uint8))
    scale = size / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    side = size + 2 * padding
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(canvas)
