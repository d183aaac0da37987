"""Image files decoded by Pillow: one page, upright, within a limit of pixels."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from ncalab.core.checks import check_int
from ncalab.tasks.images.formats import how_to_convert

logger = logging.getLogger(__name__)

MAX_PIXELS = 178_956_970
"""Pixels of the largest image that is read unless told otherwise: Pillow's own limit."""

# Further frames of these are previews of the first one, or its layers.
_ONE_IMAGE = ("MPO", "PSD")
_ORIENTATION, _WIDTH, _HEIGHT = 274, 256, 257
# How an image is turned that EXIF says to lie so. ImageOps.exif_transpose would also write the EXIF
# data anew, which fails for those of some cameras.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# Orientations that exchange rows and columns.
_ON_ITS_SIDE = (5, 6, 7, 8)
_LIMIT = threading.RLock()


@dataclass(frozen=True)
class Decoded:
    """An image as Pillow has it.

    Args:
        image: Upright, in memory.
        format: Pillow's name of the file's format.
        deep: Whether the file has 16 bits where ``image`` has 8.
    """

    image: Image.Image
    format: str | None
    deep: bool


def check_reading(page: int | None, max_pixels: int | None) -> None:
    """Raise unless the options of reading are in their ranges; None is in both.

    Raises:
        TypeError: If one is not an integer.
        ValueError: If ``page`` is below 0 or ``max_pixels`` below 1.
    """
    if page is not None:
        check_int("page", page, minimum=0)
    if max_pixels is not None:
        check_int("max_pixels", max_pixels, minimum=1)


def decode(
    path: Path,
    *,
    page: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
    beside: bool = False,
) -> Decoded:
    """Read one image of a file.

    Args:
        path: The file.
        page: Page or frame of a file with several, from 0.
        max_pixels: Pixels that it may have at most; None for any number.
        beside: Whether ``page`` is that of another file, to which this one belongs; then a file
            with one page is read, whatever ``page`` is.

    Returns:
        The image, turned as its EXIF data say.

    Raises:
        FileNotFoundError: If the file does not exist.
        TypeError: If an option is not an integer.
        ValueError: If the file cannot be read, is too large, has several pages and none is
            chosen, or lacks the one that is.
    """
    check_reading(page, max_pixels)
    with _opened(path, max_pixels) as file:
        _choose_page(file, path, page, beside=beside)
        _check_size(file, path, max_pixels)
        # Pillow names the decoding of what it reads as 8 bits: ('RGB;16B', ...).
        deep = ";16" in str(getattr(file, "tile", "")) and not file.mode.startswith("I")
        kind = file.format
        file.load()
        turn = _TURNS.get(_orientation(file, path))
        return Decoded(file.copy() if turn is None else file.transpose(turn), kind, deep)


def image_size(
    path: Path, *, page: int | None = None, max_pixels: int | None = MAX_PIXELS
) -> tuple[int, int]:
    """Return (W, H), the rows and columns of an upright image, without decoding it.

    Arguments and errors are those of :func:`decode`.
    """
    with _opened(path, max_pixels) as file:
        _choose_page(file, path, page, beside=False)
        tags = getattr(file, "tag_v2", None)
        # Some versions of Pillow have exchanged the sides of a TIFF already.
        columns, rows = file.size if tags is None else (tags[_WIDTH], tags[_HEIGHT])
        turned = _orientation(file, path) in _ON_ITS_SIDE
    return (columns, rows) if turned else (rows, columns)


def _orientation(file: Image.Image, path: Path) -> int:
    """Return the orientation of EXIF; upright if there is none, or none that can be read."""
    try:
        return int(file.getexif().get(_ORIENTATION, 1))
    except Exception as error:  # as of decoders
        logger.warning("%s: its EXIF data cannot be read, it is taken as upright: %s", path, error)
        return 1


@contextmanager
def _opened(path: Path, max_pixels: int | None) -> Iterator[Image.Image]:
    """Open a file; name it in every error."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing" if not path.exists() else f"{path} is a folder"
        )
    try:
        # Not by its path: Pillow 13.0 maps uncompressed TIFFs that are turned with sides exchanged.
        with _pillow_limit(max_pixels), path.open("rb") as stream, Image.open(stream) as file:
            yield file
    except _RefusedError as error:
        raise ValueError(str(error)) from None
    except Image.DecompressionBombError:
        with _pillow_limit(None), Image.open(path) as file:
            size = file.size
        raise ValueError(_too_large(path, size, MAX_PIXELS)) from None
    except UnidentifiedImageError as error:
        reason = how_to_convert(path) or "it is damaged, or of a format that Pillow does not know"
        raise ValueError(f"{path} cannot be read as an image: {reason}") from error
    except Exception as error:  # broken files make Pillow's decoders raise nearly anything
        # Of some formats that it cannot read, Pillow says only that it has no loader.
        reason = how_to_convert(path) or str(error) or type(error).__name__
        raise ValueError(f"{path} cannot be read as an image: {reason}") from error


class _RefusedError(Exception):
    """A file that Pillow could read, but that is not wanted."""


@contextmanager
def _pillow_limit(max_pixels: int | None) -> Iterator[None]:
    """Lift Pillow's limit if another one is to hold; it is a variable of the whole process."""
    if max_pixels == MAX_PIXELS:
        yield
        return
    with _LIMIT:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _choose_page(file: Image.Image, path: Path, page: int | None, *, beside: bool) -> None:
    pages = 1 if file.format in _ONE_IMAGE else getattr(file, "n_frames", 1)
    if page is None and pages > 1:
        raise _RefusedError(
            f"{path} must hold one image, got {pages} pages; choose one, from 0 on, by page "
            "(--page on the command line)"
        )
    if page is None or (beside and pages == 1):
        return
    if page >= pages:
        raise _RefusedError(f"page must be in [0, {pages}) for the pages of {path}, got {page}")
    if pages > 1:
        file.seek(page)


def _check_size(file: Image.Image, path: Path, max_pixels: int | None) -> None:
    # Pillow checks its own limit.
    if max_pixels in (None, MAX_PIXELS):
        return
    if max_pixels is not None and file.width * file.height > max_pixels:
        raise _RefusedError(_too_large(path, file.size, max_pixels))


def _too_large(path: Path, size: tuple[int, int], limit: int) -> str:
    columns, rows = size
    return (
        f"{path} must have at most {limit:,} pixels, got {rows} x {columns}; "
        "raise max_pixels (--max-pixels on the command line) if the file is to be trusted"
    )
