"""Tasks of neural cellular automata: one folder per task."""

from ncalab.tasks.__about__ import __version__
from ncalab.tasks.cascade import CascadeNCA
from ncalab.tasks.classification import (
    ClassificationDataset,
    ClassificationNCAHead,
    ClassificationNCAModel,
    IDXDataset,
    MedMNISTDataset,
    RandomAffine,
    read_idx,
)
from ncalab.tasks.depth import DepthDataset, DepthNCAModel
from ncalab.tasks.growing import GrowingNCADataset, GrowingNCAModel
from ncalab.tasks.images import read_image, read_images, read_labels, read_mask
from ncalab.tasks.losses import DiceBCELoss, DiceLoss, DiceScore, FocalLoss
from ncalab.tasks.recommend import recommended_model
from ncalab.tasks.segmentation import (
    RandomPatches,
    SegmentationNCADataset,
    SegmentationNCAModel,
    SegmentationPrediction,
)

__all__ = [
    "CascadeNCA",
    "ClassificationDataset",
    "ClassificationNCAHead",
    "ClassificationNCAModel",
    "DepthDataset",
    "DepthNCAModel",
    "DiceBCELoss",
    "DiceLoss",
    "DiceScore",
    "FocalLoss",
    "GrowingNCADataset",
    "GrowingNCAModel",
    "IDXDataset",
    "MedMNISTDataset",
    "RandomAffine",
    "RandomPatches",
    "SegmentationNCADataset",
    "SegmentationNCAModel",
    "SegmentationPrediction",
    "__version__",
    "read_idx",
    "read_image",
    "read_images",
    "read_labels",
    "read_mask",
    "recommended_model",
]
