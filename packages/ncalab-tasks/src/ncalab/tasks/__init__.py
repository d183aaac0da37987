"""What neural cellular automata are used for: one folder per task."""

from ncalab.tasks.__about__ import __version__
from ncalab.tasks.cascade import CascadeNCA
from ncalab.tasks.growing import GrowingNCADataset, GrowingNCAModel

__all__ = ["CascadeNCA", "GrowingNCADataset", "GrowingNCAModel", "__version__"]
