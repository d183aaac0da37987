"""Estimators in the manner of scikit-learn: a model, its training and its data in one object."""

from ncalab.estimators.classifier import NCAClassifier
from ncalab.estimators.segmenter import NCASegmenter

__all__ = ["NCAClassifier", "NCASegmenter"]
