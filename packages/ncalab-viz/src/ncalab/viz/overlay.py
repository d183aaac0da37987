"""Segmentation masks over images."""

import numpy as np
from matplotlib.colors import to_rgb

from ncalab.core.checks import check_choice
from ncalab.viz.colors import class_colors
from ncalab.viz.images import blend, to_bytes, to_rgb_image, to_whc
from ncalab.viz.style import AnimatorStyle, animator_styles

Array = np.ndarray


def find_style(style: str | AnimatorStyle) -> AnimatorStyle:
    """Return a style, or the one of that name.

    Raises:
        ValueError: If no style has that name.
    """
    if isinstance(style, AnimatorStyle):
        return style
    check_choice("style", style, animator_styles)
    return animator_styles[style]


def draw_segmentation_overlay(image: Array, mask: Array, style: str | AnimatorStyle) -> Array:
    """Tint an image where a mask is set, and leave it as it is elsewhere. Inputs are not changed.

    A mask of one class gets the overlay colour of the style, several classes get one colour each.

    Args:
        image: Shape ``(W, H)``, ``(W, H, C)`` or ``(C, W, H)``, C = 1, 3 or 4; whole numbers in
            [0, 255] or floating point in [0, 1]. Transparent cells of 4 channels show the style's
            background.
        mask: Class of each cell, shape ``(W, H)`` or ``(1, W, H)``, bool or whole numbers;
            0 and below is background. Nothing but 0 and 255 is a mask of one class.
        style: Style, or its name.

    Returns:
        Image, shape ``(W, H, 3)``: uint8 of whole numbers, else float in [0, 1].

    Raises:
        ValueError: If the mask has another size than the image or holds fractions, or the style
            is unknown.

    >>> image = np.zeros((1, 2), np.uint8)
    >>> draw_segmentation_overlay(image, np.array([[True, False]]), "light").tolist()
    [[[106, 47, 0], [0, 0, 0]]]
    """
    style = find_style(style)
    image, mask = to_whc(np.asarray(image)), _plane(np.asarray(mask))
    if mask.shape != image.shape[:2]:
        raise ValueError(f"mask must have the size of image {image.shape[:2]}, got {mask.shape}")
    whole = not np.issubdtype(image.dtype, np.floating)
    unit = image / (1 if image.dtype == np.bool_ else 255) if whole else image
    base = to_rgb_image(np.moveaxis(unit, -1, 0), style.background)
    tinted = tint(base, mask, int(max(mask.max(), 1)), style)
    return to_bytes(tinted) if whole else tinted


def tint(image: Array, mask: Array, classes: int, style: AnimatorStyle) -> Array:
    """Tint the cells of each class.

    Args:
        image: Shape ``(W, H, 3)``, range [0, 1].
        mask: Class of each cell, shape ``(W, H)``; 0, below and NaN is background.
        classes: Number of classes without the background; with one, it gets the style's colour.
        style: Style of the overlay.

    Returns:
        Image, shape ``(W, H, 3)``.
    """
    colors = mask_colors(classes, style)
    # NaN compares as false.
    marked = mask > 0
    place = np.where(marked, mask, 1).astype(int) - 1
    return blend(image, marked, colors[np.clip(place, 0, classes - 1)])


def mask_colors(classes: int, style: AnimatorStyle) -> Array:
    """Return the colour of each class but the background, shape ``(classes, 3)``."""
    return np.array([to_rgb(style.color_overlay)]) if classes == 1 else class_colors(classes)


def _plane(mask: Array) -> Array:
    if mask.ndim == 3 and mask.shape[0] == 1:
        mask = mask[0]
    if np.issubdtype(mask.dtype, np.floating) and (mask[np.isfinite(mask)] % 1 != 0).any():
        raise ValueError(f"mask must hold classes, got the fraction {mask[mask % 1 != 0][0]}")
    if np.isin(mask, (0, 255)).all():
        # How image files hold the mask of one class.
        return mask > 0
    return np.nan_to_num(mask) if np.issubdtype(mask.dtype, np.floating) else mask
