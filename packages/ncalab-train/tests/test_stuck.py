import logging
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MeanSquaredError, Metric
from torchmetrics.classification import MulticlassAccuracy
from train_models import EchoModel, loader, make_tiny

from ncalab.train import BasicNCATrainer
from ncalab.train.stuck import SEVERAL, best_possible, epochs_at_worst, epochs_undefined

NAN = math.nan


@pytest.mark.parametrize(
    ("curve", "higher", "best", "want"),
    [
        ([0, 0, 0], True, 1, 3),
        ([0, 0.1, 0], True, 1, 1),
        ([0.1, 0, 0], True, 1, 2),
        ([0, 0, 0.1], True, 1, 0),
        ([0.5, 0.5], True, 1, 2),
        ([1, 1], True, 1, 0),
        ([0, 0], False, 0, 0),
        ([3, 3, 3], False, 0, 3),
        ([3, 2, 1], False, 0, 0),
        ([1, 2, 3], False, 0, 1),
        ([-4, -4], True, 0, 2),
        ([NAN, 0, 0], True, 1, 2),
        ([0, 0, NAN], True, 1, 0),
        ([NAN, NAN], True, 1, 0),
        ([0.3, 0.3 + 1e-9], True, 1, 2),
        ([], True, 1, 0),
    ],
)
def test_epochs_at_the_worst_value_are_counted_from_the_last(
    curve: list[float], higher: bool, best: float, want: int
) -> None:
    assert epochs_at_worst(curve, higher_is_better=higher, best=best) == want


@pytest.mark.parametrize(
    ("curve", "want"), [([], 0), ([NAN], 1), ([0.5, NAN, NAN], 2), ([NAN, 0.5], 0)]
)
def test_epochs_without_a_value_are_counted_from_the_last(curve: list[float], want: int) -> None:
    assert epochs_undefined(curve) == want


def test_the_best_that_a_metric_can_be_is_what_torchmetrics_knows() -> None:
    assert best_possible(MulticlassAccuracy(3), higher_is_better=True) == 1
    assert best_possible(MeanSquaredError(), higher_is_better=False) == 0
    assert best_possible(object(), higher_is_better=True) == 1
    assert best_possible(object(), higher_is_better=False) == 0


class Scripted(Metric):
    """A metric whose values are given, epoch by epoch."""

    higher_is_better = True

    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.values, self.epoch = values, 0

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Take no note."""

    def compute(self) -> Tensor:
        """Return the value of the next epoch."""
        self.epoch += 1
        return torch.tensor(self.values[self.epoch - 1])


class ScriptedError(Scripted):
    """The same, better when it is lower."""

    higher_is_better = False


LONG = 20
"""Number of batches of a long epoch: five of them are a hundred batches."""


def many_batches(count: int) -> DataLoader[Any]:
    data = loader().dataset
    return DataLoader(data, batch_sampler=[[0]] * count)


def trained(
    values: list[float],
    *,
    higher: bool = True,
    path: Path | None = None,
    batches: int = LONG,
    **options: Any,
) -> tuple[EchoModel, Any]:
    model = make_tiny(validation_metric="scripted")
    model.metrics["scripted"] = (Scripted if higher else ScriptedError)(values)
    trainer = BasicNCATrainer(model, path, max_epochs=len(values), progress=False, batch_repeat=1)
    return model, trainer.train(many_batches(batches), loader(), **options)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


@pytest.mark.parametrize(("higher", "worst"), [(True, 0.0), (True, 0.25), (False, 7.5)])
def test_a_score_that_stays_at_its_worst_is_told_of_once(
    caplog: pytest.LogCaptureFixture, higher: bool, worst: float
) -> None:
    trained([worst] * (SEVERAL + 3), higher=higher)

    (text,) = told(caplog)
    assert text.startswith(f"validation scripted has stayed at {worst:.6g}, its worst value, for 5")
    assert "normalize='percentile'" in text and "a class may be so rare" in text


def test_a_few_batches_in_each_of_several_epochs_are_no_reason_to_warn(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trained([0.0] * 30 + [0.5], batches=3)

    assert not told(caplog)


def test_many_short_epochs_are_warned_of_after_as_many_batches(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trained([0.0] * 40, batches=3)

    (text,) = told(caplog)
    assert "for 34 epochs" in text


@pytest.mark.parametrize(
    ("higher", "values"),
    [
        (True, [0.0] * (SEVERAL - 1) + [0.1, 0.2]),
        (True, [1.0] * (SEVERAL + 1)),
        (False, [0.0] * (SEVERAL + 1)),
        (True, [0.5, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9]),
        (False, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),
        (True, [0.0, 0.0]),
    ],
)
def test_a_score_that_moves_or_is_as_good_as_can_be_is_not(
    caplog: pytest.LogCaptureFixture, higher: bool, values: list[float]
) -> None:
    trained(values, higher=higher)

    assert not told(caplog)


def test_a_short_training_is_told_of_at_its_end(caplog: pytest.LogCaptureFixture) -> None:
    trained([0.0] * 3)

    (text,) = told(caplog)
    assert "has stayed at 0, its worst value, for 3 epochs" in text


def test_short_epochs_are_told_of_at_the_end(caplog: pytest.LogCaptureFixture) -> None:
    trained([0.0] * 8, batches=1)

    (text,) = told(caplog)
    assert "has stayed at 0, its worst value, for 8 epochs" in text


def test_a_resumed_training_goes_on_counting(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    trained([0.0] * 2, path=tmp_path)
    assert not told(caplog)
    model = make_tiny(validation_metric="scripted")
    model.metrics["scripted"] = Scripted([0.0] * 4)
    trainer = BasicNCATrainer(model, tmp_path, max_epochs=6, progress=False, batch_repeat=1)

    trainer.train(many_batches(LONG), loader(), resume=True)

    (text,) = told(caplog)
    assert "for 5 epochs" in text


def test_a_score_that_is_always_undefined_chooses_no_best_model(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    _, history = trained([NAN] * (SEVERAL + 1), path=tmp_path, dataloader_test=loader())

    undefined, no_best = told(caplog)
    assert "validation scripted has been undefined (NaN) for 5 epochs" in undefined
    assert no_best == (
        "no best model could be chosen, and no test metrics measured: validation scripted was "
        "undefined (NaN) after every epoch"
    )
    assert history.best_model is None and history.best_epoch == 0
    assert math.isnan(history.best_accuracy) and not history.test_metrics
    assert not (tmp_path / "best_model.safetensors").exists()
    assert '"best_accuracy": null' in (tmp_path / "history.json").read_text()


def test_one_defined_value_is_the_best(tmp_path: Path) -> None:
    _, history = trained([NAN, 0.25, NAN], path=tmp_path)

    assert (history.best_accuracy, history.best_epoch) == (0.25, 2)
    assert '"best_accuracy": 0.25' in (tmp_path / "history.json").read_text()
