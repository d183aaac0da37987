"""scikit-learn's own checks of what an estimator must do."""

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from ncalab.estimators import NCAClassifier


@parametrize_with_checks(  # type: ignore[untyped-decorator]
    [NCAClassifier(epochs=8, steps=3, hidden_size=16, num_hidden_channels=8)]
)
def test_scikit_learn_finds_nothing_wrong(estimator: Any, check: Any) -> None:
    check(estimator)
