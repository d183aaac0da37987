"""Segmentation: a class for every cell of an image."""

from ncalab.tasks.segmentation.data import SegmentationNCADataset
from ncalab.tasks.segmentation.model import SegmentationNCAModel
from ncalab.tasks.segmentation.patches import RandomPatches
from ncalab.tasks.segmentation.prediction import SegmentationPrediction

__all__ = [
    "RandomPatches",
    "SegmentationNCADataset",
    "SegmentationNCAModel",
    "SegmentationPrediction",
]
