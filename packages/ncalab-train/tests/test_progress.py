import sys
from types import SimpleNamespace
from typing import Any

import pytest
from torch.utils.data import DataLoader, IterableDataset
from train_models import loader, make_tiny

from ncalab.train import BasicNCATrainer
from ncalab.train.callbacks import Progress


def train(**arguments: Any) -> None:
    nca = make_tiny(validation_metric="mse")
    BasicNCATrainer(nca, None, max_epochs=3, **arguments).train(loader(), loader())


def test_a_log_file_gets_one_line_per_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    train()

    output = capsys.readouterr()
    lines = output.err.splitlines()
    assert [line.split("  ")[0] for line in lines] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert all("loss 0." in line and "mse 0." in line and "lr 0.00" in line for line in lines)
    assert "\r" not in output.err and output.out == ""


def test_a_terminal_gets_bars_over_epochs_and_batches(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)

    train()

    shown = capsys.readouterr().err
    assert "training" in shown and "3/3" in shown and "epoch" in shown
    assert "epoch 3" in shown and "0/2" in shown
    assert "epoch 1/3  loss" not in shown


def test_progress_may_be_off(capsys: pytest.CaptureFixture[str]) -> None:
    train(progress=False)

    assert capsys.readouterr().err == ""


def test_the_loss_is_read_only_when_it_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    reads: list[int] = []

    class Loss:
        def __float__(self) -> float:
            reads.append(1)
            return 0.5

    training: Any = SimpleNamespace(history=SimpleNamespace(current_epoch=0), batches=0)
    batch: Any = SimpleNamespace(losses={"total": Loss()})
    with Progress(enabled=True, epochs=1, batches=5000) as progress:
        progress.on_start(training)
        progress.on_epoch_start(training, 1)
        for _ in range(5000):
            progress.on_batch_end(training, batch)

    assert len(reads) < 50


def test_data_of_unknown_length_can_be_trained_on(capsys: pytest.CaptureFixture[str]) -> None:
    class Stream(IterableDataset[Any]):
        def __iter__(self) -> Any:
            return iter(loader().dataset)

    BasicNCATrainer(make_tiny(), None, max_epochs=1).train(DataLoader(Stream(), batch_size=2))

    assert capsys.readouterr().err.startswith("epoch 1/1")
