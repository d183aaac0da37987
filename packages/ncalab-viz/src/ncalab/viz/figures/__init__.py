"""Figures of results: how sure, how good, how trained, how grown, how wired."""

from ncalab.viz.figures.channels import plot_filters, plot_hidden_channels
from ncalab.viz.figures.confusion_matrix import plot_confusion_matrix
from ncalab.viz.figures.history import plot_history
from ncalab.viz.figures.risk_coverage import plot_risk_coverage
from ncalab.viz.figures.rollout import plot_rollout
from ncalab.viz.figures.uncertainty import plot_uncertainty

__all__ = [
    "plot_confusion_matrix",
    "plot_filters",
    "plot_hidden_channels",
    "plot_history",
    "plot_risk_coverage",
    "plot_rollout",
    "plot_uncertainty",
]
