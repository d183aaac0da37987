"""Pictures and animations of neural cellular automata."""

from ncalab.viz.__about__ import __version__
from ncalab.viz.animator import Animator
from ncalab.viz.image_row import show_image_row
from ncalab.viz.style import AnimatorStyle, animator_style_dark, animator_styles
from ncalab.viz.visual import Visual, VisualGrowing
from ncalab.viz.web import export_html

__all__ = [
    "Animator",
    "AnimatorStyle",
    "Visual",
    "VisualGrowing",
    "__version__",
    "animator_style_dark",
    "animator_styles",
    "export_html",
    "show_image_row",
]
