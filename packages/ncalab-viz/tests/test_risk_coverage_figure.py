from typing import Any

import numpy as np
import pytest
import torch

from ncalab.core.selective import selective_risks
from ncalab.viz import plot_risk_coverage


@pytest.mark.parametrize("count", [1, 5, 200])
def test_every_curve_has_its_area_in_the_legend(count: int) -> None:
    errors = torch.linspace(0, 1, count)

    figure = plot_risk_coverage(errors, {"good": errors, "bad": -errors}, error_name="1 - Dice")
    figure.canvas.draw()

    good = float(selective_risks(errors, errors).mean())
    texts = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]  # type: ignore[union-attr]  # the figure has one
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
