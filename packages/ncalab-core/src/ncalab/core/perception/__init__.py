"""Perception of a cell: its own state and views of its neighbourhood."""

from ncalab.core.padding import FILTER_PADDINGS, FilterPadding, pad_cells, padded_index
from ncalab.core.perception.attention import AttentionView
from ncalab.core.perception.base import AbstractNCAPerception, FilterBank, PerceivingCells
from ncalab.core.perception.basic import BasicNCAPerception
from ncalab.core.perception.filters import fixed_filters
from ncalab.core.perception.isotropic import IsotropicView, SteerableView
from ncalab.core.perception.listed import ViewsNCAPerception
from ncalab.core.perception.views import LaplaceView, LearnedView, SobelView, View

__all__ = [
    "FILTER_PADDINGS",
    "AbstractNCAPerception",
    "AttentionView",
    "BasicNCAPerception",
    "FilterBank",
    "FilterPadding",
    "IsotropicView",
    "LaplaceView",
    "LearnedView",
    "PerceivingCells",
    "SobelView",
    "SteerableView",
    "View",
    "ViewsNCAPerception",
    "fixed_filters",
    "pad_cells",
    "padded_index",
]
