"""Cascade: the same task, from coarse to fine."""

from ncalab.tasks.cascade.model import CascadeNCA

__all__ = ["CascadeNCA"]
