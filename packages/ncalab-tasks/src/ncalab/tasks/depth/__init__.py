"""Depth: how far away every cell of an image is."""

from ncalab.tasks.depth.model import DepthNCAModel

__all__ = ["DepthNCAModel"]
