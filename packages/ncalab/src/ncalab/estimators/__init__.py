"""Neural cellular automata as scikit-learn estimators."""

from ncalab.estimators.classifier import NCAClassifier
from ncalab.estimators.segmenter import NCASegmenter

__all__ = ["NCAClassifier", "NCASegmenter"]
