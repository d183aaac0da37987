"""Every parameter of every estimator with wrong types: an error that names it, before any work."""

import inspect
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from ncalab.estimators import NCAClassifier, NCASegmenter

Estimator = type[NCAClassifier] | type[NCASegmenter]

RNG = np.random.default_rng(0)
IMAGES = RNG.random((6, 4, 4))
LABELS = {NCAClassifier: np.arange(6) % 2, NCASegmenter: (IMAGES > 0.5).astype(int)}

WEIGHTS = {1: 2}
SCALES = [1]
WRONG = (b"x", 1.5, -1, float("nan"), True, SCALES, (), object(), WEIGHTS, "x")
# Values among them that a parameter can have.
RIGHT: dict[str, tuple[Any, ...]] = {
    "class_weight": (WEIGHTS,),
    "early_stopping": (True,),
    "learning_rate": (1.5,),
    "max_minutes": (1.5,),
    "random_state": (True,),
    "scales": (SCALES,),
    "standardize": (True,),
    "verbose": (True,),
    "warm_start": (True,),
}


def wrong_values() -> Iterator[tuple[Estimator, str, Any]]:
    for kind in (NCAClassifier, NCASegmenter):
        for name in inspect.signature(kind).parameters:
            right = RIGHT.get(name, ())
            for value in WRONG:
                if not any(value is each for each in right):
                    yield kind, name, value


def test_every_wrong_value_of_every_parameter_is_named() -> None:
    for kind, name, value in wrong_values():
        estimator = kind(**{"epochs": 1, "random_state": 0, "hidden_size": 4, name: value})

        with pytest.raises((TypeError, ValueError)) as caught:
            estimator.fit(IMAGES, LABELS[kind])

        assert name in str(caught.value).partition(" must ")[0], (kind, name, value, caught.value)
        assert not hasattr(estimator, "model_")


@pytest.mark.parametrize("kind", [NCAClassifier, NCASegmenter])
def test_arguments_that_the_model_does_not_have_are_refused(kind: Estimator) -> None:
    estimator = kind(model_params={"use_laplace": False, "num_heads": 3})

    with pytest.raises(TypeError, match=f"model_params must be arguments of {kind.__name__[3]}.*"):
        estimator.fit(IMAGES, LABELS[kind])


def test_too_few_images_to_hold_some_out_are_named() -> None:
    estimator = NCAClassifier(early_stopping=True, random_state=0)

    with pytest.raises(ValueError, match="validation_fraction must leave images of each class.*6"):
        estimator.fit(IMAGES, LABELS[NCAClassifier])
