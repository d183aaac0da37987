"""What neural cellular automata are used for: one folder per task."""

from ncalab.tasks.__about__ import __version__
from ncalab.tasks.classification import (
    ClassificationDataset,
    ClassificationNCAHead,
    ClassificationNCAModel,
    IDXDataset,
    MedMNISTDataset,
    read_idx,
)
from ncalab.tasks.growing import GrowingNCADataset, GrowingNCAModel

__all__ = [
    "ClassificationDataset",
    "ClassificationNCAHead",
    "ClassificationNCAModel",
    "GrowingNCADataset",
    "GrowingNCAModel",
    "IDXDataset",
    "MedMNISTDataset",
    "__version__",
    "read_idx",
]
