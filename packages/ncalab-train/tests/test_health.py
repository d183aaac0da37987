"""Warnings of a training that does not learn."""

import logging
from typing import Any

import pytest
import torch
from train_models import EchoModel, loader, make_tiny

from ncalab.core import Prediction
from ncalab.train import BasicNCATrainer
from ncalab.train.health import (
    CellStatistics,
    HealthMonitor,
    epochs_without_fall,
    measure_cells,
    trouble_of,
)


class FourChannels(EchoModel):
    """Has an opacity."""

    def __init__(self, **arguments: Any) -> None:
        sizes = {"num_image_channels": 4, "num_hidden_channels": 2, "use_alive_mask": True}
        super().__init__(**{**sizes, **arguments})


@pytest.mark.parametrize(
    ("losses", "want"),
    [([], 0), ([1.0], 0), ([1.0, 0.995], 1), ([1.0, 0.5, 1.0], 0), ([-1.0, -1.1], 0)],
)
def test_epochs_without_a_fall_are_counted(losses: list[float], want: int) -> None:
    assert epochs_without_fall(losses) == want


def test_cells_are_measured_by_what_steps_can_change() -> None:
    nca = make_tiny()
    state = torch.zeros(1, 4, 2, 2)
    state[:, 0] = 7.0  # the image
    state[:, 2, 1, 0] = -3.0

    assert measure_cells(nca, state).tolist() == [3.0, 1.0]


def test_the_share_of_living_cells_is_that_of_the_mask() -> None:
    nca = FourChannels(immutable_image_channels=False)
    state = torch.zeros(1, 7, 5, 5)
    dead = measure_cells(nca, state)
    state[:, 3, 0, 0] = 0.5

    assert dead.tolist() == [0.0, 0.0]
    assert measure_cells(nca, state).tolist() == pytest.approx([0.5, 4 / 25])


@pytest.mark.parametrize(
    ("cells", "want"),
    [
        (CellStatistics(1.0, 0.0), "all cells die"),
        (CellStatistics(0.0, 1.0), "cells do nothing"),
        (CellStatistics(1e5, 1.0), "cells saturate: states reach 1e+05"),
    ],
)
def test_each_trouble_is_named_with_its_reason(cells: CellStatistics, want: str) -> None:
    assert str(trouble_of(cells)).startswith(want)


def test_well_cells_are_no_trouble() -> None:
    assert trouble_of(CellStatistics(2.0, 0.3)) is None


def test_a_trouble_is_reported_once_after_three_epochs(caplog: pytest.LogCaptureFixture) -> None:
    monitor, losses = HealthMonitor(), [1.0, 0.5]
    for cells in (2e4, 1.0, 3e4, 4e4, 5e4, 6e4):
        monitor.see_epoch(losses, CellStatistics(cells, 1.0))

    assert [record.message.split(";")[0] for record in caplog.records] == [
        "for 3 epochs, cells saturate: states reach 5e+04 at the end of a rollout"
    ]


class Flat(EchoModel):
    """Its loss does not depend on what it does."""

    def loss(self, pred: Prediction, label: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return 1, whatever the prediction."""
        return {"total": 1 + 0 * pred.logits.mean()}


def warnings_of(nca: EchoModel, caplog: pytest.LogCaptureFixture, **arguments: Any) -> str:
    with caplog.at_level(logging.WARNING, "ncalab.train.health"):
        BasicNCATrainer(nca, None, **{"max_epochs": 7, "progress": False, **arguments}).train(
            loader()
        )
    return caplog.text


def test_a_loss_that_does_not_fall_is_reported_once(caplog: pytest.LogCaptureFixture) -> None:
    text = warnings_of(Flat(), caplog)

    assert text.count("the training loss has not fallen for 5 epochs (1, then 1)") == 1


def test_a_loss_need_not_fall_while_the_rate_rises(caplog: pytest.LogCaptureFixture) -> None:
    monitor, cells = HealthMonitor(), CellStatistics(1.0, 1.0)
    for count in range(2, 20):
        monitor.see_epoch([1.0] * count, cells, warming=True)
    assert not caplog.records

    for count in range(20, 30):
        monitor.see_epoch([1.0] * count, cells)

    assert [record.message.split(" (")[0] for record in caplog.records] == [
        "the training loss has not fallen for 19 epochs"
    ]


def test_a_training_that_warms_up_is_judged_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    batches = len(loader())

    text = warnings_of(Flat(), caplog, warmup_steps=6 * batches)

    assert text.count("the training loss has not fallen for 5 epochs (1, then 1)") == 1
    caplog.clear()
    assert "has not fallen" not in warnings_of(Flat(), caplog, warmup_steps=9 * batches)


def test_cells_that_do_nothing_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    text = warnings_of(Flat(), caplog)

    assert "for 3 epochs, cells do nothing" in text


def test_cells_that_saturate_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    nca = make_tiny(fire_rate=1.0)
    torch.nn.init.constant_(nca.rule.get_parameter("network.2.weight"), 200.0)

    assert "cells saturate" in warnings_of(nca, caplog, lr=1e-9)


def test_a_training_that_learns_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    assert warnings_of(make_tiny(), caplog, lr=1e-2) == ""
