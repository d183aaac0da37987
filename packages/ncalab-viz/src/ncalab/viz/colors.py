"""Colours that colour-blind readers tell apart."""

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_rgb

Array = np.ndarray

VALUES_CMAP = "viridis"
"""Colormap of values such as depth."""
ERROR_CMAP = "magma"
"""Colormap of errors and uncertainties: black is none."""
SIGNED_CMAP = "RdBu_r"
"""Colormap of values around zero: blue is negative."""

# Okabe and Ito's colours without their black (https://jfly.uni-koeln.de/color/), then more for
# digits and organs, which come in tens, chosen to differ in lightness from their neighbours.
_CLASS_COLORS = [
    *("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"),
    *("#882255", "#999999", "#6b4423", "#4b3f9e", "#c5f0a4"),
]


def class_colors(count: int) -> Array:
    """Return one colour for each class.

    Args:
        count: Number of classes. Beyond 12, colours are those of a colormap, and neighbours alike.

    Returns:
        RGB, shape ``(count, 3)``, range [0, 1].

    >>> class_colors(2).round(2).tolist()
    [[0.9, 0.62, 0.0], [0.34, 0.71, 0.91]]
    """
    if count <= len(_CLASS_COLORS):
        return np.array([to_rgb(color) for color in _CLASS_COLORS[:count]]).reshape(count, 3)
    return np.asarray(colormaps[VALUES_CMAP](np.linspace(0, 1, count)))[:, :3]


def color_values(
    values: Array, low: float, high: float, background: Array | tuple[float, ...] = (1.0, 1.0, 1.0)
) -> Array:
    """Show values as colours of the colormap of values.

    Args:
        values: Shape ``(W, H)``; NaN for none.
        low: Value of the darkest colour.
        high: Value of the brightest colour.
        background: Colour of cells without a value, RGB in [0, 1].

    Returns:
        Image, shape ``(W, H, 3)``, range [0, 1].

    >>> color_values(np.array([[np.nan, 2.0]]), 0, 2, (1, 0, 0)).round(2).tolist()
    [[[1.0, 0.0, 0.0], [0.99, 0.91, 0.14]]]
    """
    known = np.isfinite(values)
    scaled = (np.where(known, values, low) - low) / (high - low if high > low else 1.0)
    colors = np.asarray(colormaps[VALUES_CMAP](np.clip(scaled, 0, 1)))[..., :3]
    return np.where(known[..., None], colors, np.asarray(background, dtype=float))


def color_limits(values: Array, *, percent: float = 1.0) -> tuple[float, float]:
    """Return the range of finite values without outliers.

    Args:
        values: Any shape.
        percent: Share of values to leave out at either end.

    Returns:
        Low and high, ``low < high``; (0, 1) if no value is finite.

    >>> color_limits(np.array([2.0, 5.0, np.nan]), percent=0)
    (2.0, 5.0)
    >>> color_limits(np.array([3.0, 3.0]))
    (3.0, 4.0)
    """
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(bound) for bound in np.percentile(known, [percent, 100 - percent]))
    return low, high if high > low else low + 1.0
