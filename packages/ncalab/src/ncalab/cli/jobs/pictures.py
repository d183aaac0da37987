"""The picture that a model is to grow."""

from pathlib import Path

import click
import numpy as np
from PIL import Image

from ncalab.tasks.images import MAX_PIXELS, read_image, with_channels


def _eight_bits(pixels: np.ndarray, path: Path) -> np.ndarray:
    """Return pixels of any depth as those of 8 bits, uint8."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return np.asarray(pixels // 257, dtype=np.uint8)
    if pixels.min() < 0 or pixels.max() > 1:
        raise ValueError(
            "IMAGE must be in [0, 1] if it is floating point, "
            f"got {pixels.min()} to {pixels.max()} in {path}"
        )
    return np.asarray(np.rint(pixels * 255), dtype=np.uint8)


def load_target(
    path: Path,
    size: int,
    padding: int,
    *,
    page: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> np.ndarray:
    """Read a picture, scale it and surround it with empty cells.

    Says on standard error if it has no transparency, as then it is grown with its background.

    Args:
        path: Picture in any format that Pillow reads.
        size: Longer side in cells.
        padding: Number of empty cells on every side.
        page: Page or frame of a file with several, from 0.
        max_pixels: Pixels that the picture may have at most; None for any number.

    Returns:
        Square RGBA image, shape ``(W, H, 4)``, uint8, W = H = size + 2 padding.

    Raises:
        ValueError: If it cannot be read, or shows nothing at all.
    """
    pixels = read_image(path, page=page, max_pixels=max_pixels)
    picture = Image.fromarray(with_channels(_eight_bits(pixels, path), 4))
    lowest, highest = picture.getchannel("A").getextrema()
    if highest == 0:
        raise ValueError(f"IMAGE must show something, got a fully transparent {path}")
    if lowest == 255:
        click.echo(
            f"{path} has no transparency: the whole rectangle is grown, with its background. "
            "Make the background transparent to grow the figure alone.",
            err=True,
        )
    scale = size / max(picture.size)
    sides = tuple(max(1, round(length * scale)) for length in picture.size)
    picture = picture.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)
    side = size + 2 * padding
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(canvas)
