"""How sure a neural cellular automaton is. Nothing is here yet."""

from ncalab.uncertainty.__about__ import __version__

__all__ = ["__version__"]
