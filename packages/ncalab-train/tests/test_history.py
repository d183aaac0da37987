import csv
import math
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
from train_models import equal, loader, make_tiny, weights

import ncalab.train.visuals
from ncalab.train import BasicNCATrainer, TrainingHistory


def filled(path: Path | None = None) -> TrainingHistory:
    history = TrainingHistory(path, {}, 0, make_tiny())
    for epoch, loss in enumerate([0.5, 0.25], start=1):
        losses = {"total": loss, "half": loss / 2}
        history.add_epoch(losses, lr=0.1, seconds=2.0, metrics={"mse": loss + 1})
        history.update(epoch, history.current_model, -loss)
    return history


def test_the_curves_are_a_table() -> None:
    rows = list(csv.DictReader(filled().to_csv().splitlines()))

    assert rows[1] == {
        "epoch": "2",
        "lr": "0.1",
        "seconds": "2.0",
        "loss_total": "0.25",
        "loss_half": "0.125",
        "val_mse": "1.25",
    }


def test_a_training_writes_its_table(tmp_path: Path) -> None:
    nca = make_tiny(validation_metric="mse")
    history = BasicNCATrainer(nca, tmp_path, max_epochs=3, progress=False).train(loader(), loader())

    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))

    assert [float(row["loss_total"]) for row in rows] == history.loss
    assert [float(row["val_mse"]) for row in rows] == history.metric_curves["mse"]


def test_a_plot_comes_from_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("history", "builtins:id", "ncalab.plots")
    asked: list[dict[str, str]] = []

    def find(**wanted: str) -> EntryPoints:
        asked.append(wanted)
        return EntryPoints([point])

    monkeypatch.setattr(ncalab.train.visuals, "entry_points", find)
    history = filled()

    assert history.plot() == id(history)
    assert asked == [{"group": "ncalab.plots", "name": "history"}]


def test_without_a_package_that_plots_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ncalab.train.visuals, "entry_points", lambda **_: EntryPoints())

    with pytest.raises(ImportError, match="install ncalab-viz"):
        filled().plot()


def test_a_history_comes_back_from_its_record() -> None:
    history = filled()
    other = TrainingHistory(None, {}, 0, make_tiny())

    other.restore(history.to_dict(), history.best_weights)

    assert other.to_dict() == history.to_dict()
    assert other.loss == [0.5, 0.25]


@pytest.mark.parametrize(
    ("higher", "values", "best"),
    [
        (True, [-3.0, -5.0, math.nan, -1.0, -2.0], 4),
        (False, [3.0, 0.0, math.nan, -1.0, 2.0], 4),
        (True, [math.nan, math.nan], 0),
    ],
)
def test_the_best_epoch_knows_its_direction(higher: bool, values: list[float], best: int) -> None:
    history = TrainingHistory(None, {}, 0, make_tiny(), higher_is_better=higher)

    for epoch, value in enumerate(values, start=1):
        history.update(epoch, history.current_model, value)

    assert history.best_epoch == best


def test_other_weights_than_the_models_may_be_the_best() -> None:
    nca, other = make_tiny(), make_tiny()
    for parameter in other.parameters():
        parameter.data += 1
    history = TrainingHistory(None, {}, 0, nca)

    history.update(1, nca, 0.5, weights=other.state_dict())
    history.finish()

    assert history.best_model is not None
    assert equal(weights(history.best_model), weights(other))


def test_the_best_weights_of_an_overwritten_run_do_not_stay(tmp_path: Path) -> None:
    filled(tmp_path).save()
    assert (tmp_path / "best_model.safetensors").exists()
    fresh = TrainingHistory(tmp_path, {}, 0, make_tiny())

    fresh.save()

    assert not (tmp_path / "best_model.safetensors").exists()


def test_test_metrics_are_those_of_the_best_weights(monkeypatch: Any) -> None:
    nca = make_tiny(validation_metric="mse", fire_rate=1.0)
    # So large a step that the last epoch is not the best.
    trainer = BasicNCATrainer(nca, None, max_epochs=4, lr=0.3, lr_gamma=1.0, progress=False)

    history = trainer.train(loader(), loader(), loader())

    assert history.best_epoch < 4
    assert history.test_metrics["mse"] == pytest.approx(history.best_accuracy)
    assert history.test_metrics["mse"] != pytest.approx(nca.validate(loader())[0]["mse"])


def test_no_epoch_with_a_value_is_no_best_value_of_0() -> None:
    history = TrainingHistory(None, {}, 0, make_tiny())
    assert history.best_accuracy == 0 and math.isnan(history.to_dict()["best_accuracy"])

    history.update(1, make_tiny(), math.nan)

    assert math.isnan(history.best_accuracy) and history.best_epoch == 0
    history.update(2, make_tiny(), -3.0)
    assert (history.best_accuracy, history.best_epoch) == (-3.0, 2)
    history.update(3, make_tiny(), math.nan)
    assert (history.best_accuracy, history.best_epoch) == (-3.0, 2)


def test_the_repr_summarises_the_training() -> None:
    assert repr(filled()) == "TrainingHistory(epochs=2, loss=0.25, mse=1.25, best_epoch=2)"
    assert repr(TrainingHistory(None, {}, 0, make_tiny())) == "TrainingHistory(epochs=0)"
