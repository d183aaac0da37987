from typing import Any

import numpy as np
import pytest
import torch

from ncalab.viz import plot_risk_coverage
from ncalab.viz.figures.risk_coverage import selective_risks


def test_risks_are_the_means_of_the_surest_samples() -> None:
    rng = np.random.default_rng(0)
    errors, scores = rng.random(20), rng.permutation(20)

    risks = selective_risks(errors, scores)

    surest = np.argsort(scores)
    want = [errors[surest[:count]].mean() for count in range(1, 21)]
    np.testing.assert_allclose(risks, want, rtol=1e-12)


def test_equal_scores_give_the_mean_whatever_the_order() -> None:
    errors = np.array([1.0, 0.0, 0.5, 0.5])

    np.testing.assert_allclose(selective_risks(errors, np.zeros(4)), 0.5)
    np.testing.assert_allclose(selective_risks(errors[::-1], np.zeros(4)), 0.5)


@pytest.mark.parametrize("count", [1, 5, 200])
def test_every_curve_has_its_area_in_the_legend(count: int) -> None:
    errors = torch.linspace(0, 1, count)

    figure = plot_risk_coverage(errors, {"good": errors, "bad": -errors}, error_name="1 - Dice")
    figure.canvas.draw()

    good = float(selective_risks(errors.numpy(), errors.numpy()).mean())
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[union-attr]
    assert texts[0] == f"good (AURC {good:.3g})"
    assert texts[2] == f"best order (AURC {good:.3g})"
    assert texts[3].startswith("no order")
    assert figure.axes[0].get_ylabel() == "mean 1 - Dice"
    x, y = figure.axes[0].lines[1].get_data()
    assert len(np.asarray(x)) == count
    assert float(np.asarray(y)[-1]) == pytest.approx(float(errors.mean()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"errors": np.zeros((2, 2))}, r"errors must have shape \(N,\) with N at least 1"),
        ({"errors": []}, r"errors must have shape \(N,\) with N at least 1, got \(0,\)"),
        ({"errors": [0.0, np.nan, 1.0]}, "errors must be finite, got nan"),
        ({"scores": [1.0]}, r"scores of 'uncertainty' must have shape \(3,\), one for each error"),
        ({"scores": {"area": [0.0, np.inf, 1.0]}}, "scores of 'area' must be finite, got inf"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {"errors": [0.0, 1.0, 2.0], "scores": [1.0, 2.0, 3.0]}
    with pytest.raises(ValueError, match=message):
        plot_risk_coverage(**{**good, **arguments})
