"""Image files whose pixels are labels: of one class as a viewer shows them, of several as stored.

A mask of one class is black and white. Palettes, opacity and files of two colours are shown on
black, and what is white there is the foreground; what is neither is refused. A mask of several
classes holds their numbers: the values of grey files, the indices of palettes.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from ncalab.tasks.images.decoding import MAX_PIXELS, Decoded, decode
from ncalab.tasks.images.pixels import pixels_of

Array = np.ndarray

_LOSSY = ("JPEG", "MPO")
# The foreground of a binary mask: a label, or white of 8 or 16 bits.
_WHITE = (1, 255, 65535)
# How far colours of a palette may be from black and from white.
_NEARLY_BLACK, _NEARLY_WHITE = 63, 192
_BLACK_ON_TRANSPARENT = (
    "a mask must not be black on transparent, which is black on black to a viewer; "
    "save it as black and white"
)


def read_mask(
    path: Path | str, *, page: int | None = None, max_pixels: int | None = MAX_PIXELS
) -> Array:
    """Read a mask of one class.

    Args:
        path: File of 0 and 1, or of black and white in any form; see :func:`binary_labels`. A
            palette may also have the indices 0, shown black, and 1, shown in another colour.
        page: Page of a file with several, from 0. A file with one is read whatever it is, as the
            mask of an image with several.
        max_pixels: As of :func:`read_image`.

    Returns:
        0 and 1, shape ``(W, H)``, uint8.

    Raises:
        FileNotFoundError: If the file does not exist.
        TypeError: If an option is not an integer.
        ValueError: If it cannot be read, or is not black and white; with name and reason.
    """
    path = Path(path)
    decoded = decode(path, page=page, max_pixels=max_pixels, beside=True)
    image = decoded.image
    try:
        if decoded.format in _LOSSY:
            return binary_labels(np.asarray(image.convert("L")), lossy=True)
        if image.mode == "P":
            return _of_palette(image)
        return binary_labels(_shown_grey(image, path), lossy=False)
    except ValueError as error:
        raise ValueError(_named(path, error)) from error


def read_labels(
    path: Path | str, *, page: int | None = None, max_pixels: int | None = MAX_PIXELS
) -> tuple[Array, bool]:
    """Read a mask of several classes: its values as they are stored.

    Args:
        path: File in any format that Pillow reads. Of a palette, the indices are the labels; a
            colour image must be grey, and is read as such.
        page: As of :func:`read_mask`.
        max_pixels: As of :func:`read_image`.

    Returns:
        Labels, shape ``(W, H)``, of an integer dtype; and whether the format may have changed
        them (JPEG).

    Raises:
        FileNotFoundError: If the file does not exist.
        TypeError: If an option is not an integer.
        ValueError: If it cannot be read, is coloured, holds fractions, has labels under
            transparent pixels, or a palette that shows 0 as white and 1 as black.
    """
    path = Path(path)
    decoded = decode(path, page=page, max_pixels=max_pixels, beside=True)
    if decoded.format in _LOSSY:
        return np.asarray(decoded.image.convert("L")), True
    try:
        return _stored(decoded, path), False
    except ValueError as error:
        raise ValueError(_named(path, error)) from error


def _named(path: Path, error: ValueError) -> str:
    text = str(error)
    if str(path) in text:
        return text
    return f"{path} {text}" if text.startswith("must ") else f"{path}: {text}"


def binary_labels(labels: Array, *, lossy: bool) -> Array:
    """Return a mask of black and white as one of 0 and 1.

    Args:
        labels: Shape ``(W, H)``, integers: 0 and 1, 255 or 65535.
        lossy: Whether the values have passed through JPEG, so that black and white have become
            greys; then those above 127 are white.

    Returns:
        Mask of 0 and 1, shape ``(W, H)``, uint8.

    Raises:
        ValueError: If there are other values.

    >>> binary_labels(np.array([[0, 255]]), lossy=False).tolist()
    [[0, 1]]
    """
    if lossy:
        if 0 < labels.max() < 128:
            raise ValueError(
                f"a JPEG mask must be black and white, got values up to {labels.max()}"
            )
        return (labels > 127).astype(np.uint8)
    values = np.unique(labels)
    if not any(np.isin(values, (0, white)).all() for white in _WHITE):
        hint = "; more classes need num_classes" if len(values) > 2 else ""
        raise ValueError(
            f"labels of a binary mask must be 0 and 1, 255 or 65535, got {brief(values)}{hint}"
        )
    return (labels > 0).astype(np.uint8)


def brief(values: Array) -> str:
    """List the first few values."""
    shown = ", ".join(str(value) for value in values[:5])
    return shown + (", ..." if len(values) > 5 else "")


def _shown_grey(image: Image.Image, path: Path) -> Array:
    """Return what a viewer shows on black, shape ``(W, H)``, integers."""
    if image.mode == "1":
        return np.asarray(image).astype(np.uint8)
    pixels = pixels_of(image, path)
    grey = _one_channel(pixels, image.mode)
    if pixels.shape[2] < 4:
        return _whole_numbers(grey)
    opacity = pixels[..., 3]
    shown = np.where(opacity == np.iinfo(opacity.dtype).max, grey, 0)
    partly = (opacity > 0) & (opacity < np.iinfo(opacity.dtype).max)
    if partly.any():
        # Composed on black; whole numbers that are neither black nor white are refused later.
        top = np.float64(np.iinfo(opacity.dtype).max)
        shown = np.where(partly, np.rint(grey * (opacity / top)), shown).astype(grey.dtype)
    if not shown.any() and opacity.any() and len(np.unique(opacity)) > 1:
        raise ValueError(_BLACK_ON_TRANSPARENT)
    return shown


def _one_channel(pixels: Array, mode: str) -> Array:
    """Return grey ``(W, H)`` of pixels ``(W, H, C)``; of transparent ones, no colour counts."""
    colors = pixels[..., :3] if pixels.shape[2] >= 3 else pixels
    equal = (colors == colors[..., :1]).all(axis=-1)
    if pixels.shape[2] == 4:
        equal |= pixels[..., 3] == 0
    if not equal.all():
        raise ValueError(f"must have one channel of labels, got colours ({mode})")
    return colors[..., 0]


def _whole_numbers(values: Array) -> Array:
    if not np.issubdtype(values.dtype, np.floating):
        return values
    if not (values == np.floor(values)).all():
        raise ValueError("must hold whole numbers as labels, got fractions")
    return values.astype(np.int32)


def _of_palette(image: Image.Image) -> Array:
    """Return the mask that a palette shows on black."""
    indices = np.asarray(image)
    used = np.unique(indices)
    colors = _palette(image)[used]
    if (colors == used[:, None]).all():
        return binary_labels(indices, lossy=False)
    brightness = colors.max(axis=1)
    if _are_labels(used, brightness):
        return (indices > 0).astype(np.uint8)
    white, black = colors.min(axis=1) >= _NEARLY_WHITE, brightness <= _NEARLY_BLACK
    clear = (white | black).all() and (len(used) == 1 or (white.any() and black.any()))
    if not clear:
        pairs = zip(used[:5].tolist(), colors[:5].tolist(), strict=True)
        shown = ", ".join(f"{index} as {tuple(color)}" for index, color in pairs)
        raise ValueError(
            "the palette of a binary mask must show black and white (what is transparent is "
            f"black), or 0 as black and 1 brighter, got {shown}"
        )
    return np.isin(indices, used[white]).astype(np.uint8)


def _palette(image: Image.Image) -> Array:
    """Return the colours of all indices as they show on black, shape ``(256, 3)``, int64."""
    colors = np.zeros((256, 3), np.int64)
    stored = np.reshape(image.getpalette("RGB") or [], (-1, 3))
    colors[: len(stored)] = stored
    opacity = np.full(256, 255)
    transparent = image.info.get("transparency")
    if isinstance(transparent, bytes):
        opacity[: len(transparent)] = np.frombuffer(transparent, np.uint8)
    elif transparent is not None:
        opacity[transparent] = 0
    return np.asarray(colors * opacity[:, None] // 255)


def _are_labels(used: Array, brightness: Array) -> bool:
    """Return whether indices mean themselves: 0, shown black, and 1 or 255, shown brighter."""
    if not (set(used.tolist()) <= {0, 1} or set(used.tolist()) <= {0, 255}):
        return False
    dark = brightness[used == 0]
    bright = brightness[used > 0]
    return bool(
        (dark <= _NEARLY_BLACK).all()
        and (bright > 0).all()
        and (not len(dark) or not len(bright) or bright[0] > dark[0])
    )


def _stored(decoded: Decoded, path: Path) -> Array:
    """Return the labels of a file that has not changed them."""
    image = decoded.image
    if image.mode in ("1", "P"):
        indices = np.asarray(image)
        if image.mode == "P":
            _check_palette(image, indices)
        return indices.astype(np.uint8)
    if image.mode == "I":
        return np.array(image)
    pixels = pixels_of(image, path)
    labels = _whole_numbers(_one_channel(pixels, image.mode))
    if pixels.shape[2] == 4:
        hidden = pixels[..., 3] != np.iinfo(pixels.dtype).max
        if labels[hidden].any():
            raise ValueError("must have no labels where it is transparent; save it without opacity")
        if hidden.any() and not hidden.all() and not labels.any():
            raise ValueError(_BLACK_ON_TRANSPARENT)
    return labels


def _check_palette(image: Image.Image, indices: Array) -> None:
    """Raise if a palette is plainly that of a picture of black on white, and not of labels."""
    if indices.max() > 1:
        return
    first, second = _palette(image)[:2]
    if first.min() >= _NEARLY_WHITE and second.max() <= _NEARLY_BLACK:
        raise ValueError(
            "labels must not be the indices of a palette that shows 0 as white and 1 as black; "
            "save the mask as grey values"
        )
