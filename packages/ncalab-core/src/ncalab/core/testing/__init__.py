"""Tests of one's own parts, and small models to test with.

Each check raises an AssertionError that says what is wrong. They are for the test suite of whoever
writes a rule or a model; they need no test framework.
"""

from ncalab.core.testing.checking import check_model
from ncalab.core.testing.models import MeanHead, TinyModel, awaken
from ncalab.core.testing.rules import check_rule

__all__ = ["MeanHead", "TinyModel", "awaken", "check_model", "check_rule"]
