"""What training and evaluation of the growing emoji share: the picture and its error."""

from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from ncalab.tasks import GrowingNCAModel

EVAL_STEPS = 64
EVAL_ROLLOUTS = 8


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
        with Image.open(path) as file:
            picture = file.convert("RGBA")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise SystemExit(f"--image must be a picture that can be read: {path} ({error})") from None
    scale = size / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    picture = picture.resize((width, height), Image.Resampling.LANCZOS)
    side = size + 2 * padding
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    return np.asarray(canvas)


def free_folder(wanted: Path) -> Path:
    """Return ``wanted``, or the first of ``wanted-2``, ``wanted-3``... that does not exist."""
    names = (wanted.with_name(f"{wanted.name}-{n}") for n in count(2))
    return wanted if not wanted.exists() else next(name for name in names if not name.exists())


def mse(state: Tensor, target: Tensor) -> float:
    """Return the mean squared error of the image channels, over RGBA, cells and samples."""
    return (state[:, :4] - target.to(state)).square().mean().item()


def mse_from_seed(nca: GrowingNCAModel, target: Tensor, steps: int = EVAL_STEPS) -> float:
    """Grow 8 images from the seed and return their mean squared error.

    Args:
        nca: Trained model.
        target: Premultiplied target, shape ``(4, W, H)``, range [0, 1].
        steps: Number of steps.
    """
    seeds = nca.make_seed(*target.shape[1:]).repeat(EVAL_ROLLOUTS, 1, 1, 1)
    return mse(nca.predict(seeds, steps, seed=0).output_image, target)
