import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from ncalab.viz import plot_history

DATA: dict[str, Any] = {
    "best_epoch": 3,
    "curves": {
        "losses": {"total": [1.0, 0.5, 0.25, 0.2], "mse": [0.9, 0.4, 0.2, 0.1]},
        "metrics": {"dice": [0.1, None, 0.9, 0.8]},
        "lr": [1e-2, 1e-2, 1e-3, 1e-3],
        "seconds": [1.0, 1.0, 1.0, 1.0],
    },
}


class History:
    """Stands in for the trainer's history, as far as the figure needs it."""

    def to_dict(self) -> dict[str, Any]:
        """Return the recorded values."""
        return DATA


def curves(figure: Figure) -> dict[str, list[Any]]:
    """Return all named curves of a figure."""
    lines = [line for axes in figure.axes for line in axes.lines]
    named = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in lines}
    return {name: values for name, values in named.items() if not name.startswith("_")}


def test_a_history_its_data_its_file_and_its_folder_give_the_same_figure(tmp_path: Path) -> None:
    file = tmp_path / "history.json"
    file.write_text(json.dumps(DATA))

    for given in (History(), DATA, file, str(file), tmp_path):
        figure = plot_history(given)
        figure.canvas.draw()
        drawn = curves(figure)

        assert drawn["total"] == [1.0, 0.5, 0.25, 0.2]
        assert drawn["lr"] == [1e-2, 1e-2, 1e-3, 1e-3]
        np.testing.assert_array_equal(drawn["dice"], [0.1, np.nan, 0.9, 0.8])
        assert figure.axes[0].get_title() == "best: epoch 3"


def test_several_runs_are_compared_by_total_loss_and_each_metric() -> None:
    short = {"curves": {"losses": {"total": [2.0, 1.0]}, "metrics": {"iou": [0.3, 0.4]}}}

    figure = plot_history({"long": DATA, "short": short})

    assert [axes.get_ylabel() for axes in figure.axes] == [
        "loss",
        "validation dice",
        "validation iou",
    ]
    lines = {str(line.get_label()): line for line in figure.axes[0].lines}
    assert np.asarray(lines["long"].get_ydata()).tolist() == [1.0, 0.5, 0.25, 0.2]
    assert np.asarray(lines["short"].get_xdata()).tolist() == [1, 2]
    assert figure.axes[2].lines[0].get_label() == "short"


def test_runs_of_a_list_are_numbered() -> None:
    assert sorted(curves(plot_history([History(), DATA]))) == ["run 1", "run 2"]


def test_positive_losses_are_on_a_logarithmic_scale_and_others_are_not() -> None:
    for first, scale in ((1.0, "log"), (-1.0, "linear"), (None, "log")):
        data = {"curves": {"losses": {"total": [first, 0.5]}}}

        figure = plot_history(data)
        figure.canvas.draw()

        assert figure.axes[0].get_yscale() == scale
        assert len(figure.axes) == 1


def test_metrics_of_every_second_epoch_stand_where_they_were_measured() -> None:
    data = {"curves": {"losses": {"total": [1.0] * 6}, "metrics": {"dice": [0.1, 0.2, 0.3]}}}

    line = plot_history(data).axes[1].lines[0]

    assert np.asarray(line.get_xdata()).tolist() == [2, 4, 6]


@pytest.mark.parametrize("given", [{}, {"curves": 3}, 5, []])
def test_anything_else_is_named(given: Any) -> None:
    with pytest.raises(ValueError, match="history must be a TrainingHistory"):
        plot_history(given)


def test_a_training_without_an_epoch_is_named() -> None:
    with pytest.raises(ValueError, match="history must hold at least one epoch"):
        plot_history({"curves": {"losses": {}, "metrics": {}, "lr": []}})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="history.json"):
        plot_history(tmp_path)
