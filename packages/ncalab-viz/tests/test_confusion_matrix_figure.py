from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import confusion_matrix

from ncalab.viz import plot_confusion_matrix


@pytest.mark.parametrize("classes", [2, 10, 25])
def test_rows_are_shares_of_the_true_class(classes: int, keep: Callable[[Any], Any]) -> None:
    rng = np.random.default_rng(0)
    truth, predicted = rng.integers(0, classes, (2, 200))
    matrix = keep(confusion_matrix(truth, predicted, labels=range(classes)))

    figure = plot_confusion_matrix(matrix)
    figure.canvas.draw()

    want = confusion_matrix(truth, predicted, labels=range(classes), normalize="true")
    shown = np.asarray(figure.axes[0].get_images()[0].get_array())
    np.testing.assert_allclose(shown, want, rtol=1e-12)
    assert bool(figure.axes[0].texts) == (classes <= 20)


@pytest.mark.parametrize(("normalize", "texts"), [(True, ["75", "25"]), (False, ["3", "1"])])
def test_numbers_are_percentages_or_counts_and_empty_classes_have_none(
    normalize: bool, texts: list[str]
) -> None:
    figure = plot_confusion_matrix(torch.tensor([[3, 1], [0, 0]]), normalize=normalize)

    assert [text.get_text() for text in figure.axes[0].texts] == texts


def test_names_are_at_both_axes() -> None:
    figure = plot_confusion_matrix(np.eye(2), ["cat", "a hippopotamus"])
    axes = figure.axes[0]

    for labels in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [label.get_text() for label in labels] == ["cat", "a hippopota…"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


@pytest.mark.parametrize(
    ("matrix", "names", "message"),
    [
        (np.zeros((2, 3)), None, r"matrix must have shape \(K, K\), got \(2, 3\)"),
        (np.zeros((0, 0)), None, r"matrix must have shape \(K, K\), got \(0, 0\)"),
        (np.array([[-1.0]]), None, "matrix must hold counts"),
        (np.array([[np.nan]]), None, "matrix must hold counts"),
        (np.eye(2), ["a"], r"class_names must be as many as classes \(2\), got 1"),
    ],
)
def test_bad_arguments_are_named(matrix: Any, names: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_confusion_matrix(matrix, names)
