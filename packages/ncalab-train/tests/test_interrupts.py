"""What was trained is kept, however often Ctrl-C comes until it is saved."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from train_models import EchoModel, equal, loader, make_tiny, same, weights

from ncalab.core import Prediction
from ncalab.train import BasicNCATrainer, Callback, TrainingHistory
from ncalab.train.callbacks import checkpointing
from ncalab.train.checkpoint import read_checkpoint, write_checkpoint


class Acting(EchoModel):
    """Does something within its third step."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.action: Callable[[], None] | None = None

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        losses = super().loss(pred, label)
        if torch.is_grad_enabled():
            self.steps += 1
            if self.steps == 3 and self.action is not None:
                self.action()
        return losses


class Clock:
    """A clock that is put forward by hand."""

    now = 0.0

    def __call__(self) -> float:
        return self.now

    def press(self, seconds: float = 0.0) -> None:
        """Press Ctrl-C so much later."""
        self.now += seconds
        signal.raise_signal(signal.SIGINT)


class PressingAfterwards(Callback):
    """Presses Ctrl-C once, after a step is whole."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    def on_batch_end(self, training: Any, batch: Any) -> None:
        if training.iterations == 3:
            self.clock.press()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that tells one Ctrl-C from the next."""
    clock = Clock()
    monkeypatch.setattr("ncalab.train.interrupts.monotonic", clock)
    return clock


def during_saves(press: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Press something before the checkpoint of every save is written."""

    def write(path: Path, state: dict[str, Any]) -> None:
        press()
        write_checkpoint(path, state)

    monkeypatch.setattr(checkpointing, "write_checkpoint", write)


def train(
    folder: Path, nca: EchoModel, *callbacks: Callback, epochs: int = 2, resume: bool = False
) -> TrainingHistory:
    trainer = BasicNCATrainer(nca, folder, max_epochs=epochs, progress=False)
    return trainer.train(loader(shuffle=True), save_every=100, resume=resume, callbacks=callbacks)


def acting(action: Callable[[], None] | None = None) -> Acting:
    torch.manual_seed(0)
    nca = Acting()
    nca.action = action
    return nca


def whole(folder: Path) -> dict[str, Any]:
    train(folder, acting())
    return read_checkpoint(folder / "checkpoint.safetensors")


@pytest.mark.parametrize("seconds", [0.0, 0.001, 5.0])
def test_a_second_ctrl_c_within_the_same_step_loses_nothing(
    tmp_path: Path, seconds: float, clock: Clock
) -> None:
    def press() -> None:
        clock.press()
        clock.press(seconds)

    history = train(tmp_path / "parts", acting(press))

    assert history.interrupted
    assert read_checkpoint(tmp_path / "parts" / "checkpoint.safetensors")["iterations"] == 3
    train(tmp_path / "parts", acting(), resume=True)
    same(read_checkpoint(tmp_path / "parts" / "checkpoint.safetensors"), whole(tmp_path / "whole"))


@pytest.mark.parametrize("seconds", [0.001, 5.0])
def test_a_second_ctrl_c_does_not_stop_the_save_that_the_first_one_asked_for(
    tmp_path: Path, seconds: float, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_saves(lambda: clock.press(seconds), monkeypatch)

    history = train(tmp_path, make_tiny(), PressingAfterwards(clock))

    assert history.interrupted
    assert json.loads((tmp_path / "history.json").read_text())["interrupted"]
    kept = EchoModel.from_pretrained(tmp_path / "last_model.safetensors")
    assert equal(weights(kept), weights(history.current_model))


def test_a_third_ctrl_c_ends_at_once_and_leaves_what_was_saved(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(tmp_path, make_tiny(), epochs=1)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def twice() -> None:
        clock.press(5.0)
        clock.press(5.0)

    during_saves(twice, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, make_tiny(), PressingAfterwards(clock), epochs=5, resume=True)

    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_third_ctrl_c_does_not_wait_for_the_end_of_a_step(tmp_path: Path, clock: Clock) -> None:
    def press() -> None:
        for _ in range(3):
            clock.press(5.0)
        raise AssertionError("a third Ctrl-C must be raised")

    history = train(tmp_path, acting(press))

    assert history.interrupted and not any(tmp_path.iterdir())


def test_ctrl_c_during_the_last_save_keeps_it(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    during_saves(lambda: clock.press(5.0), monkeypatch)

    history = train(tmp_path, make_tiny())

    assert history.interrupted and history.best_model is not None
    assert read_checkpoint(tmp_path / "checkpoint.safetensors")["epoch"] == 2


def test_ctrl_c_while_an_error_is_saved_loses_neither(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    during_saves(clock.press, monkeypatch)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, acting(fail))

    assert read_checkpoint(tmp_path / "checkpoint.safetensors")["epoch"] == 1
