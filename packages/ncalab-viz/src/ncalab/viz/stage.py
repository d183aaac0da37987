"""The figure that an animation is drawn on."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from ncalab.viz.colors import VALUES_CMAP
from ncalab.viz.style import AnimatorStyle

Array = np.ndarray

DPI = 100
# Height of a panel in pixels, before it is rounded to whole pixels per cell, and the most that the
# picture may be enlarged to along its other side.
_PANEL_PIXELS = 256
_WIDEST = 2048
# A GIF counts pixels in 16 bits, encoders of video mostly in 14; and a frame has to fit into memory
# several times.
_LONGEST_SIDE = 16_000
_MOST_PIXELS = 2**24
_CAPTION_PIXELS = 28
_LEGEND_PIXELS = 18
_FONT = "DejaVu Sans"  # comes with matplotlib
_SIZE = 8


def zoom(rows: int, columns: int) -> tuple[int, int]:
    """Choose how large the cells are drawn.

    Args:
        rows: Height of the picture in cells.
        columns: Width of the picture in cells.

    Returns:
        How many pixels a cell has along each side; and of how many cells along each side, where
        not every cell can have one, a pixel shows the mean.

    >>> zoom(64, 64), zoom(1, 1024), zoom(8192, 8192), zoom(1, 65536)
    ((4, 1), (2, 1), (1, 2), (1, 5))
    """
    enlarged = max(1, min(round(_PANEL_PIXELS / rows), _WIDEST // columns))
    too_long = -(-max(rows, columns) // _LONGEST_SIDE)
    too_many = math.ceil(math.sqrt(rows * columns / _MOST_PIXELS))
    return enlarged, max(1, too_long, too_many)


class Stage:
    """Caption, cells, legend and progress bar, in pixels.

    Args:
        cells: The first image, uint8, shape ``(w, h, 3)``; all others have its shape.
        style: Colours and ornaments.
        caption: Whether there is a caption.
        legend: Names and colours of classes.
        limits: Values that the ends of the colormap stand for, instead of a legend.

    Attributes:
        figure: The figure.
    """

    def __init__(
        self,
        cells: Array,
        style: AnimatorStyle,
        *,
        caption: bool,
        legend: Sequence[tuple[str, str]] = (),
        limits: tuple[float, float] | None = None,
    ) -> None:
        scale, self._cells_per_pixel = zoom(*cells.shape[:2])
        cells = self._shown(cells)
        top = _CAPTION_PIXELS if caption else 0
        wide = cells.shape[1] * scale
        columns = _columns(legend, wide)
        rows = -(-len(legend) // columns) if limits is None else 1
        low = style.progress_h + _LEGEND_PIXELS * rows
        high = len(cells) * scale + top + low
        # Even sizes, which video encoders ask for.
        wide, high = wide + wide % 2, high + high % 2
        self.style, self._size = style, (wide, high)
        self.figure = Figure(figsize=(wide / DPI, high / DPI), dpi=DPI)
        self._canvas = FigureCanvasAgg(self.figure)
        axes = self.figure.add_axes((0.0, low / high, 1.0, 1.0 - (low + top) / high))
        self._picture = axes.imshow(cells, interpolation="nearest", aspect="auto")
        style.apply(self.figure, axes)
        self._text = self._write(0.5, 1 - top / 2 / high, "center") if caption else None
        self._bar = self._add_bar()
        if limits is not None:
            self._add_scale(limits)
        elif legend:
            self._add_legend(legend, columns)

    def _shown(self, cells: Array) -> Array:
        """Return one pixel for each cell, or for each square of cells that has to share one."""
        if self._cells_per_pixel == 1:
            return cells
        return np.asarray(Image.fromarray(cells).reduce(self._cells_per_pixel))

    def _write(self, x: float, y: float, align: str) -> Artist:
        font = {"family": _FONT, "size": _SIZE + 1}
        color = self.style.color_title
        return self.figure.text(x, y, "", ha=align, va="center", color=color, fontproperties=font)

    def _add_bar(self) -> Rectangle:
        height = self.style.progress_h / self._size[1]
        color = self.style.color_progress
        bar = Rectangle((0, 0), 0, height, transform=self.figure.transFigure, color=color)
        self.figure.add_artist(bar)
        return bar

    def _add_legend(self, legend: Sequence[tuple[str, str]], columns: int) -> None:
        self.figure.legend(
            handles=[Patch(color=color, label=name) for name, color in legend],
            loc="lower center",
            bbox_to_anchor=(0.5, self.style.progress_h / self._size[1]),
            ncols=columns,
            frameon=False,
            labelcolor=self.style.color_title,
            prop={"family": _FONT, "size": _SIZE},
            borderpad=0.1,
            borderaxespad=0.2,
            columnspacing=0.8,
            labelspacing=0.25,
            handlelength=0.8,
            handleheight=0.8,
            handletextpad=0.3,
        )

    def _add_scale(self, limits: tuple[float, float]) -> None:
        """Draw the colormap between the numbers of its ends."""
        high = self._size[1]
        place = (0.25, (self.style.progress_h + 5) / high, 0.5, (_LEGEND_PIXELS - 10) / high)
        axes = self.figure.add_axes(place)
        mappable = ScalarMappable(Normalize(*limits), VALUES_CMAP)
        self.figure.colorbar(mappable, cax=axes, orientation="horizontal", ticks=[])
        for x, side, value in ((-0.04, "right", limits[0]), (1.04, "left", limits[1])):
            _write_beside(axes, x, side, f"{value:.3g}", self.style.color_title)

    def draw(self, cells: Array, text: str, progress: float) -> list[Artist]:
        """Show a frame.

        Args:
            cells: Image, uint8, shape ``(w, h, 3)``.
            text: Caption.
            progress: Share of the bar to fill, in [0, 1].

        Returns:
            What changed.
        """
        self._picture.set_data(self._shown(cells))
        self._bar.set_width(progress)
        changed: list[Artist] = [self._picture, self._bar]
        if self._text is not None:
            self._text.set(text=text)
            changed.append(self._text)
        return changed

    def image(self) -> Image.Image:
        """Return what is shown, RGB."""
        self._canvas.draw()
        return Image.fromarray(np.asarray(self._canvas.buffer_rgba())).convert("RGB")


def _columns(legend: Sequence[tuple[str, str]], wide: int) -> int:
    """Return how many entries of a legend fit side by side."""
    widest = max((len(name) for name, _ in legend), default=1)
    return max(1, min(len(legend), wide // (7 * widest + 22)))


def _write_beside(axes: Axes, x: float, side: str, text: str, color: str) -> None:
    axes.text(
        x,
        0.5,
        text,
        transform=axes.transAxes,
        ha=side,
        va="center",
        color=color,
        family=_FONT,
        size=_SIZE,
    )
