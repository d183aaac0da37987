"""Depth: how far away what an image shows is."""

from ncalab.tasks.depth.data import DepthDataset
from ncalab.tasks.depth.model import DepthNCAModel

__all__ = ["DepthDataset", "DepthNCAModel"]
