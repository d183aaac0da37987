"""Weights that the monolithic ncalab (0.5 and before) saved, read into the models of today."""

from ncalab.core.monolith.differences import Difference, DifferenceKind
from ncalab.core.monolith.files import MonolithWeights, read_monolith
from ncalab.core.monolith.filters import redraw_filters
from ncalab.core.monolith.load import load_monolith_weights
from ncalab.core.monolith.report import MonolithReport

__all__ = [
    "Difference",
    "DifferenceKind",
    "MonolithReport",
    "MonolithWeights",
    "load_monolith_weights",
    "read_monolith",
    "redraw_filters",
]
