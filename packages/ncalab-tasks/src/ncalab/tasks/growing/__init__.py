"""Growing: an image from a single cell."""

from ncalab.tasks.growing.data import GrowingNCADataset
from ncalab.tasks.growing.model import GrowingNCAModel

__all__ = ["GrowingNCADataset", "GrowingNCAModel"]
