"""What neural cellular automata are used for: one folder per task."""

from ncalab.tasks.__about__ import __version__
from ncalab.tasks.cascade import CascadeNCA
from ncalab.tasks.depth import DepthDataset, DepthNCAModel
from ncalab.tasks.growing import GrowingNCADataset, GrowingNCAModel

__all__ = [
    "CascadeNCA",
    "DepthDataset",
    "DepthNCAModel",
    "GrowingNCADataset",
    "GrowingNCAModel",
    "__version__",
]
