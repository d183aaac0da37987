"""Losses whose terms begin late, come and go, or end."""

import csv
import json
import math
from pathlib import Path

import pytest
import torch
from torch import Tensor
from train_models import EchoModel, loader, same

from ncalab.core import Prediction
from ncalab.train import BasicNCATrainer, TrainingHistory
from ncalab.train.checkpoint import read_checkpoint
from ncalab.train.cross_validation import read_history


class Scheduled(EchoModel):
    """Has a term in every second batch, and one from the third epoch of two batches on."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        losses = super().loss(pred, label)
        calls = self.get_buffer("calls")
        if calls % 2:
            losses["second"] = 7 * torch.ones(())
        if calls >= 4:
            losses["late"] = calls.float()
        calls += 1
        return losses


def train(folder: Path | None, epochs: int) -> TrainingHistory:
    torch.manual_seed(0)
    trainer = BasicNCATrainer(Scheduled(), folder, max_epochs=epochs, progress=False)
    return trainer.train(loader(), save_every=1, resume=folder is not None)


def test_a_term_has_the_mean_of_the_batches_that_have_it() -> None:
    history = train(None, 4)

    assert history.losses["second"] == [7, 7, 7, 7]
    assert history.losses["late"][2:] == [4.5, 6.5]
    assert history.losses["half"] == pytest.approx([value / 2 for value in history.loss])


def test_epochs_without_a_term_have_no_value_and_all_curves_are_as_long() -> None:
    history = train(None, 4)

    assert all(math.isnan(value) for value in history.losses["late"][:2])
    assert {len(curve) for curve in history.losses.values()} == {4}


def test_a_term_that_ends_leaves_a_gap() -> None:
    history = TrainingHistory(None, {}, 0, Scheduled())

    history.add_epoch({"total": 1.0, "early": 2.0}, lr=0.1, seconds=1.0, metrics={"a": 1.0})
    history.add_epoch({"total": 0.5}, lr=0.1, seconds=1.0, metrics={"b": 3.0})

    assert history.losses["early"][0] == 2 and math.isnan(history.losses["early"][1])
    assert math.isnan(history.metric_curves["a"][1]) and math.isnan(history.metric_curves["b"][0])
    assert history.metrics == {"a": 1.0, "b": 3.0}


def test_such_a_training_is_saved_and_resumed_to_the_bit(tmp_path: Path) -> None:
    train(tmp_path / "whole", 6)
    for epochs in (2, 3, 6):  # before, at and after the beginning of the late term
        history = train(tmp_path / "parts", epochs)

    whole, parts = (tmp_path / name / "checkpoint.safetensors" for name in ("whole", "parts"))
    same(read_checkpoint(whole), read_checkpoint(parts))
    assert history.losses["second"] == [7] * 6


def test_the_files_hold_the_gaps(tmp_path: Path) -> None:
    history = train(tmp_path, 4)

    stored = json.loads((tmp_path / "history.json").read_text())["curves"]["losses"]
    rows = list(csv.DictReader((tmp_path / "history.csv").read_text().splitlines()))
    read = read_history(tmp_path, Scheduled())

    assert stored["late"] == [None, None, 4.5, 6.5]
    assert [row["loss_late"] for row in rows] == ["nan", "nan", "4.5", "6.5"]
    assert read.losses["late"][2:] == history.losses["late"][2:]
    assert math.isnan(read.losses["late"][0])
