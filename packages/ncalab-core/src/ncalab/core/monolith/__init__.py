"""Reading weights that the monolithic ncalab, which came before these packages, saved."""

from ncalab.core.monolith.load import load_monolith_weights
from ncalab.core.monolith.report import MonolithReport

__all__ = ["MonolithReport", "load_monolith_weights"]
