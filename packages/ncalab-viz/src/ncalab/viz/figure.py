"""Figures that pyplot does not know of."""

import io
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

Array = np.ndarray

SMALL = 8
"""Size of text beside small pictures, in points."""
# Sides of a panel in inches.
_PANEL, _LEAST, _MOST = 1.4, 0.4, 2.8


class UnmanagedFigure(Figure):
    """A figure that pyplot does not know of, so that nobody has to close it.

    A notebook shows it when it is the value of a cell; pyplot would show only its own figures.
    """

    def _repr_png_(self) -> bytes:
        """Return the figure as a PNG, for notebooks."""
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Create an empty :class:`UnmanagedFigure`.

    Args:
        width: In inches.
        height: In inches.
    """
    figure = UnmanagedFigure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def panel_grid(
    rows: int, columns: int, size: tuple[int, int], *, extra: float = 0.0
) -> tuple[Figure, Array]:
    """Create a figure with a panel for each of ``rows`` x ``columns`` images.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        size: W and H of the images in cells; W is the height of a panel.
        extra: Further height in inches, for a row of another kind or a legend.

    Returns:
        The figure, and its axes, shape ``(rows, columns)``.
    """
    height = float(np.clip(_PANEL * size[0] / size[1], _LEAST, _MOST))
    figure = new_figure(_PANEL * columns + 0.9, (height + 0.12) * rows + 0.5 + extra)
    return figure, figure.subplots(rows, columns, squeeze=False)


def add_legend(figure: Figure, entries: Sequence[tuple[str, str]]) -> None:
    """Explain colours below the panels, in as many rows as the names need."""
    if not entries:
        return
    widest = max(len(name) for name, _ in entries)
    columns = int(figure.get_figwidth() / (0.075 * widest + 0.4))
    figure.legend(
        handles=[Patch(color=color, label=name) for name, color in entries],
        loc="outside lower center",
        ncols=max(1, min(columns, len(entries))),
        fontsize=SMALL,
        frameon=False,
        handlelength=1.0,
        handleheight=1.0,
        columnspacing=1.0,
        handletextpad=0.4,
    )


def captions(axes: Sequence[Axes] | Array, texts: Sequence[str]) -> None:
    """Write a text below each panel of a row."""
    for axis, text in zip(axes, texts, strict=True):
        axis.set_xlabel(text, fontsize=SMALL)


def shrink_text(figure: Figure, title: str = "") -> None:
    """Give labels and ticks of a figure's axes the size of small text, and the figure a title."""
    # Colour bars are children of the axes that they stand beside.
    for axis in [child for parent in figure.axes for child in (parent, *parent.child_axes)]:
        axis.tick_params(which="both", labelsize=SMALL - 1)
        for text in (axis.xaxis.label, axis.yaxis.label):
            text.set_fontsize(SMALL)
    if title:
        figure.suptitle(title, fontsize=SMALL + 1)
