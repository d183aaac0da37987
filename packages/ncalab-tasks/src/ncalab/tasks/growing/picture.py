"""The picture that a model is to grow, from a file."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ncalab.core.alive import ALIVE_THRESHOLD
from ncalab.core.task import DataParts, DataRequest
from ncalab.tasks.arguments import check_least
from ncalab.tasks.growing.data import GrowingNCADataset
from ncalab.tasks.growing.pieces import join_pieces
from ncalab.tasks.images import MAX_PIXELS, read_image, with_channels

logger = logging.getLogger(__name__)

# Largest opacity of a cell that gives no life, of 255.
_DEAD = int(255 * ALIVE_THRESHOLD)


@dataclass(frozen=True)
class Picture:
    """The picture to grow, as a settings file describes it.

    Attributes:
        image: File.
        size: Longer side in cells.
        padding: Number of empty cells on every side.
        normalize: "none": the picture is drawn as it is.
        page: Page or frame of a file with several, from 0.
        max_pixels: Pixels that the picture may have at most; None for any number.
    """

    image: str
    size: int = 40
    padding: int = 4
    normalize: str = "none"
    page: int | None = None
    max_pixels: int | None = MAX_PIXELS

    def __post_init__(self) -> None:
        if self.normalize != "none":
            raise ValueError(
                "data.normalize must be left out for GrowingNCADataset, got "
                f"{self.normalize!r}: the picture is what is to be grown, and is drawn as it is"
            )
        check_least(self, {"size": 1, "padding": 0, "page": 0, "max_pixels": 1})


def read_picture(request: DataRequest) -> DataParts:
    """Read the picture that a settings file names, and pair it with the seed of the model.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read, or the model's cells do not show RGBA images.
    """
    picture = Picture(**request.settings)
    image = load_target(
        Path(picture.image),
        picture.size,
        picture.padding,
        page=picture.page,
        max_pixels=picture.max_pixels,
        join=request.model.use_alive_mask,
        say=request.say,
    )
    pairs = GrowingNCADataset(image, request.model.num_channels, request.batch_size)
    if request.model.num_image_channels != 4:
        raise ValueError(
            "model.num_image_channels must be 4, as the data have, "
            f"got {request.model.num_image_channels}"
        )
    return DataParts(pairs)


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
    join: bool = True,
    say: Callable[[str], None] = logger.warning,
) -> np.ndarray:
    """Read a picture, scale it and surround it with empty cells.

    Args:
        path: Picture in any format that Pillow reads.
        size: Longer side in cells.
        padding: Number of empty cells on every side.
        page: Page or frame of a file with several, from 0.
        max_pixels: Pixels that the picture may have at most; None for any number.
        join: Whether cells have an alive mask, and pieces that life does not get to are joined
            (:func:`ncalab.tasks.growing.pieces.join_pieces`).
        say: Called with a line of text if the picture has no transparency, and is therefore grown
            with its background; and if it has pieces that are joined.

    Returns:
        Square RGBA image, shape ``(W, H, 4)``, uint8, W = H = size + 2 padding.

    Raises:
        ValueError: If it cannot be read, shows nothing at all, or nothing that can live.
    """
    pixels = read_image(path, page=page, max_pixels=max_pixels)
    picture = Image.fromarray(with_channels(_eight_bits(pixels, path), 4))
    lowest, highest = picture.getchannel("A").getextrema()
    if highest == 0:
        raise ValueError(f"IMAGE must show something, got a fully transparent {path}")
    if lowest == 255:
        say(
            f"{path} has no transparency: the whole rectangle is grown, with its background. "
            "Make the background transparent to grow the figure alone."
        )
    scale = size / max(picture.size)
    sides = tuple(max(1, round(length * scale)) for length in picture.size)
    picture = picture.resize((sides[0], sides[1]), Image.Resampling.LANCZOS)
    side = size + 2 * padding
    canvas = Image.new("RGBA", (side, side))
    canvas.paste(picture, ((side - picture.width) // 2, (side - picture.height) // 2))
    pixels = np.asarray(canvas)
    if not join:
        return pixels
    if (strongest := pixels[..., 3].max()) <= _DEAD:
        raise ValueError(
            f"IMAGE must be more opaque than {ALIVE_THRESHOLD} somewhere, or nothing of it lives, "
            f"got {strongest / 255:.2f} on {size} cells of {path}; fine lines last on more cells"
        )
    joined, threads = join_pieces(pixels)
    if threads:
        say(
            f"{path} has pieces that stand apart, where life does not get from one to the next: "
            f"faint white threads join them, {threads} in all."
        )
    return joined
