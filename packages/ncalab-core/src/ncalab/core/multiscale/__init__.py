"""Several automata at several scales, run as one, from coarse to fine."""

from ncalab.core.multiscale.runner import MultiScale

__all__ = ["MultiScale"]
