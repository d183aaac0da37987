"""Styles of animations."""

from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ncalab.core.checks import check_flag, check_int


@dataclass
class AnimatorStyle:
    """Colours and ornaments of an animation.

    Colours are anything that matplotlib takes for one: names, "#rrggbb", RGB tuples.

    Args:
        color_background: Colour around and behind the cells.
        color_overlay: Colour of a segmentation mask.
        color_title: Colour of the caption.
        color_progress: Colour of the progress bar, and of the line under the caption.
        underline: Whether there is such a line.
        progress_h: Height of the progress bar in pixels; 0 for none.

    Raises:
        TypeError: If the line or the bar's height has another type.
        ValueError: If matplotlib does not know a colour, or the bar's height is negative.
    """

    color_background: str
    color_overlay: str
    color_title: str
    color_progress: str
    underline: bool = True
    progress_h: int = 3

    def __post_init__(self) -> None:
        for name in ("background", "overlay", "title", "progress"):
            try:
                to_rgb(getattr(self, f"color_{name}"))
            except (TypeError, ValueError) as error:
                raise ValueError(f"color_{name} must be a colour: {error}") from error
        check_flag("underline", self.underline)
        check_int("progress_h", self.progress_h, minimum=0)

    @property
    def background(self) -> tuple[float, float, float]:
        """Background as RGB in [0, 1]."""
        return to_rgb(self.color_background)

    @property
    def overlay(self) -> tuple[float, float, float]:
        """Overlay as RGB in [0, 1]."""
        return to_rgb(self.color_overlay)

    def apply(self, fig: Figure, ax: Axes) -> None:
        """Colour a figure and one of its axes, and underline the caption.

        Args:
            fig: Figure of the animation.
            ax: Axes that show the cells; their frame and ticks are hidden.
        """
        fig.set_facecolor(self.color_background)
        ax.set_facecolor(self.color_background)
        ax.set_axis_off()
        ax.title.set_color(self.color_title)
        if self.underline:
            top = ax.get_position().y1
            line = Line2D([0.02, 0.98], [top, top], color=self.color_progress, linewidth=0.5)
            line.set_transform(fig.transFigure)
            line.set_figure(fig)
            fig.lines.append(line)


# Okabe and Ito's orange and blue: told apart by colour-blind readers, on dark and on light.
animator_style_dark = AnimatorStyle("#14161a", "#e69f00", "#e8e8e8", "#56b4e9")
animator_style_light = AnimatorStyle("#ffffff", "#d55e00", "#202020", "#0072b2")

animator_styles = {"dark": animator_style_dark, "light": animator_style_light}
