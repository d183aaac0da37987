"""Figure of a confusion matrix."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ncalab.viz.arrays import to_numpy
from ncalab.viz.figure import SMALL, new_figure, shrink_text
from ncalab.viz.labels import class_labels

Array = np.ndarray

# Of more classes, the numbers would overlap.
_MOST_WITH_NUMBERS = 20
_CELL = 0.34


def plot_confusion_matrix(
    matrix: Any, class_names: Sequence[str] | None = None, *, normalize: bool = True
) -> Figure:
    """Show how often samples of each true class (row) are taken for each class (column).

    Args:
        matrix: Counts, shape ``(K, K)``, rows are true classes, as scikit-learn and torchmetrics
            return them.
        class_names: Names of the classes; their numbers if None.
        normalize: Whether to show percentages of each row; counts otherwise.

    Returns:
        Figure; not registered with pyplot.

    Raises:
        ValueError: If the matrix is not square, or holds negative or infinite numbers, or the
            names are not as many as classes.
    """
    counts = _check(matrix, class_names)
    sums = counts.sum(axis=1, keepdims=True)
    # A class without samples has a row of zeros.
    shares = counts / np.where(sums > 0, sums, 1)
    classes = len(counts)
    side = max(2.2, _CELL * classes) + 1.0
    figure = new_figure(side, side - 0.2)
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="cividis")
    if classes <= _MOST_WITH_NUMBERS:
        _write_numbers(axes, shares, counts, normalize=normalize)
    names = class_labels(class_names, classes, 12)
    places = range(classes)
    axes.set_xticks(places, names, rotation=90 if max(map(len, names)) > 2 else 0)
    axes.set_yticks(places, names)
    axes.set(xlabel="predicted class", ylabel="true class")
    figure.colorbar(image, ax=axes, shrink=0.8, label="share of the true class")
    shrink_text(figure)
    return figure


def _check(matrix: Any, class_names: Sequence[str] | None) -> Array:
    counts = to_numpy(matrix).astype(float)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1] or not counts.size:
        raise ValueError(f"matrix must have shape (K, K), got {counts.shape}")
    if not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError("matrix must hold counts, got a negative or infinite number")
    if class_names is not None and len(class_names) != len(counts):
        raise ValueError(
            f"class_names must be as many as classes ({len(counts)}), got {len(class_names)}"
        )
    return counts


def _write_numbers(axes: Any, shares: Array, counts: Array, *, normalize: bool) -> None:
    """Write the number into each cell that has one, in the tone that can be read on it."""
    for (row, column), count in np.ndenumerate(counts):
        if count:
            share = shares[row, column]
            text = f"{100 * share:.0f}" if normalize else f"{count:.4g}"
            color = "black" if share > 0.55 else "white"
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=SMALL - 1)
