"""Classification: of whole images, or by the votes of their cells."""

from ncalab.tasks.classification.data import ClassificationDataset, IDXDataset, MedMNISTDataset
from ncalab.tasks.classification.distortion import RandomAffine
from ncalab.tasks.classification.head import ClassificationNCAHead
from ncalab.tasks.classification.idx import read_idx
from ncalab.tasks.classification.model import ClassificationNCAModel
from ncalab.tasks.classification.votes import agreement, count_votes, living_cells

__all__ = [
    "ClassificationDataset",
    "ClassificationNCAHead",
    "ClassificationNCAModel",
    "IDXDataset",
    "MedMNISTDataset",
    "RandomAffine",
    "agreement",
    "count_votes",
    "living_cells",
    "read_idx",
]
