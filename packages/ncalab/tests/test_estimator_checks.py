"""scikit-learn's own checks of what an estimator must do; none is expected to fail."""

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from ncalab.estimators import NCAClassifier, NCASegmenter

SMALL: dict[str, Any] = {
    "num_hidden_channels": 16,
    "hidden_size": 16,
    "steps": 2,
    "epochs": 8,
    "batch_size": 16,
    "learning_rate": 0.05,
}


@parametrize_with_checks([NCAClassifier(**SMALL), NCASegmenter(**SMALL)])  # type: ignore[untyped-decorator]  # scikit-learn has no types
def test_scikit_learn_agrees(estimator: Any, check: Any) -> None:
    check(estimator)
