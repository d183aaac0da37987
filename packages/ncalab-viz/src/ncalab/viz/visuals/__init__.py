"""Figures of a batch, one for each task."""

from ncalab.viz.visuals.base import Visual
from ncalab.viz.visuals.classification import (
    VisualBinaryImageClassification,
    VisualImageClassification,
    VisualMultiImageClassification,
    VisualRGBImageClassification,
)
from ncalab.viz.visuals.depth import VisualDepthEstimation
from ncalab.viz.visuals.growing import VisualGrowing
from ncalab.viz.visuals.segmentation import VisualBinaryImageSegmentation

__all__ = [
    "Visual",
    "VisualBinaryImageClassification",
    "VisualBinaryImageSegmentation",
    "VisualDepthEstimation",
    "VisualGrowing",
    "VisualImageClassification",
    "VisualMultiImageClassification",
    "VisualRGBImageClassification",
]
