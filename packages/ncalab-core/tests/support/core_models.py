"""The small models of core's tests."""

from collections.abc import Callable

from ncalab.core.testing import TinyModel, awaken

__all__ = ["MakeModel", "TinyModel", "awaken"]

MakeModel = Callable[..., TinyModel]
