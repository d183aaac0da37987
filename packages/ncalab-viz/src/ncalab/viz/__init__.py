"""Pictures and animations of neural cellular automata."""

from ncalab.viz.__about__ import __version__
from ncalab.viz.animator import Animator
from ncalab.viz.figures import (
    plot_confusion_matrix,
    plot_filters,
    plot_hidden_channels,
    plot_history,
    plot_risk_coverage,
    plot_rollout,
    plot_uncertainty,
)
from ncalab.viz.image_row import show_image_row
from ncalab.viz.labels import abbreviate_label
from ncalab.viz.overlay import draw_segmentation_overlay
from ncalab.viz.style import AnimatorStyle, animator_style_dark, animator_styles
from ncalab.viz.visuals import (
    Visual,
    VisualBinaryImageClassification,
    VisualBinaryImageSegmentation,
    VisualDepthEstimation,
    VisualGrowing,
    VisualImageClassification,
    VisualMultiImageClassification,
    VisualRGBImageClassification,
)
from ncalab.viz.web import export_html

__all__ = [
    "Animator",
    "AnimatorStyle",
    "Visual",
    "VisualBinaryImageClassification",
    "VisualBinaryImageSegmentation",
    "VisualDepthEstimation",
    "VisualGrowing",
    "VisualImageClassification",
    "VisualMultiImageClassification",
    "VisualRGBImageClassification",
    "__version__",
    "abbreviate_label",
    "animator_style_dark",
    "animator_styles",
    "draw_segmentation_overlay",
    "export_html",
    "plot_confusion_matrix",
    "plot_filters",
    "plot_hidden_channels",
    "plot_history",
    "plot_risk_coverage",
    "plot_rollout",
    "plot_uncertainty",
    "show_image_row",
]
