"""The picture that a model is to grow."""

from pathlib import Path

import click
import numpy as np
from PIL import Image, ImageOps


def _read(path: Path) -> Image.Image:
    """Read a picture, upright, as RGBA."""
    try:
        with Image.open(path) as file:
            upright = ImageOps.exif_transpose(file)
            if upright.mode.startswith("I;16"):
                # Pillow would cut off all above 255.
                upright = Image.fromarray((np.asarray(upright) // 257).astype(np.uint8))
            elif upright.mode in ("I", "F"):
                raise ValueError(f"values of mode {upright.mode} have no known range")
            return upright.convert("RGBA")
    except Exception as error:  # broken files make Pillow's decoders raise nearly anything
        raise ValueError(f"IMAGE must be a picture that can be read, got {path}: {error}") from None


def load_target(path: Path, size: int, padding: int) -> np.ndarray:
    """Read a picture, scale it and surround it with empty cells.

    Says on standard error if it has no transparency, as then it is grown with its background.

    Args:
        path: Picture in any format that Pillow reads.
        size: Longer side in cells.
        padding: Number of empty cells on every side.

    Returns:
        Square RGBA image, shape ``(W, H, 4)``, uint8, W = H = size + 2 padding.

    Raises:
        ValueError: If it cannot be read, or shows nothing at all.
    """
    picture = _read(path)
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
