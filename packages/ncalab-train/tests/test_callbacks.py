"""Callbacks of a user: when they are called, with what, and what they must not change."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from train_models import EchoModel, equal, loader, make_tiny, same, weights

from ncalab.train import (
    BasicNCATrainer,
    BatchResult,
    Callback,
    EarlyStopping,
    EpochResult,
    Training,
)
from ncalab.train.callbacks.callback import EVENTS
from ncalab.train.checkpoint import read_checkpoint

CHECKPOINT = "checkpoint.safetensors"


class Events(Callback):
    """Notes what is called."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []

    def on_start(self, training: Training) -> None:
        self.seen.append(("start", training.history.current_epoch))

    def on_epoch_start(self, training: Training, number: int) -> None:
        self.seen.append(("epoch start", number))

    def on_batch_end(self, training: Training, batch: BatchResult) -> None:
        self.seen.append(("batch", (batch.iteration, training.batches, training.iterations)))

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        self.seen.append(("epoch", epoch.number))

    def on_save(self, training: Training) -> None:
        self.seen.append(("save", training.history.current_epoch))

    def on_end(self, training: Training) -> None:
        self.seen.append(("end", training.status))


class Counting(Callback):
    """Counts batches, and keeps their number."""

    def __init__(self) -> None:
        self.count = 0

    def on_batch_end(self, training: Training, batch: BatchResult) -> None:
        self.count += 1

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count, "last": torch.tensor([self.count])}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        assert state["last"].tolist() == [state["count"]]
        self.count = state["count"]


class Failing(Callback):
    """Raises an error at one event."""

    def __init__(self, event: str, error: type[BaseException] = ZeroDivisionError) -> None:
        self.error = error

        def fail(*_: Any) -> None:
            raise self.error("on purpose")

        setattr(self, event, fail)


def train(
    folder: Path | None,
    *callbacks: Callback,
    epochs: int = 2,
    nca: EchoModel | None = None,
    seed: int = 3,
    resume: bool = False,
    **arguments: Any,
) -> EchoModel:
    model = nca or make_tiny(validation_metric="mse")
    torch.manual_seed(seed)
    trainer = BasicNCATrainer(model, folder, max_epochs=epochs, progress=False)
    options = {"save_every": 1, "resume": resume, **arguments}
    trainer.train(loader(shuffle=True), loader(2), callbacks=[*callbacks], **options)
    return model


def test_callbacks_are_called_at_every_event_in_order(tmp_path: Path) -> None:
    events = Events()

    train(tmp_path, events)

    assert events.seen == [
        ("start", 0),
        ("epoch start", 1),
        ("batch", (0, 1, 1)),
        ("batch", (1, 2, 2)),
        ("epoch", 1),
        ("save", 1),
        ("epoch start", 2),
        ("batch", (2, 1, 3)),
        ("batch", (3, 2, 4)),
        ("epoch", 2),
        ("save", 2),
        ("end", "finished"),
    ]


def test_every_save_is_told_and_without_a_folder_there_is_none(tmp_path: Path) -> None:
    seldom, never = Events(), Events()

    train(tmp_path, seldom, epochs=3, save_every=2, dataloader_test=loader(2))
    train(None, never)

    # The second after the last epoch, the third with the metrics of the test data.
    assert [epoch for event, epoch in seldom.seen if event == "save"] == [2, 3, 3]
    assert not [event for event, _ in never.seen if event == "save"]


def test_an_epoch_is_shown_with_its_values(tmp_path: Path) -> None:
    epochs: list[EpochResult] = []
    batches: list[BatchResult] = []

    class Values(Callback):
        def on_batch_end(self, training: Training, batch: BatchResult) -> None:
            batches.append(batch)

        def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
            assert training.history.loss[-1] == epoch.losses["total"]
            assert training.settings["trainer.lr"] == 16e-4
            epochs.append(epoch)

    nca = make_tiny(validation_metric="mse")
    trainer = BasicNCATrainer(nca, tmp_path, max_epochs=2, progress=False)
    history = trainer.train(loader(), loader(2), save_every=2, callbacks=[Values()])

    assert [epoch.losses["half"] for epoch in epochs] == history.losses["half"]
    assert [epoch.metrics["mse"] for epoch in epochs] == history.metric_curves["mse"]
    assert [epoch.value for epoch in epochs] == history.metric_curves["mse"]
    assert [epoch.lr for epoch in epochs] == history.lr
    assert [epoch.save_due for epoch in epochs] == [False, True]
    mean = sum(float(batch.losses["total"]) for batch in batches[:2]) / 2
    assert mean == pytest.approx(history.loss[0])
    assert not any(batch.prediction.output_image.requires_grad for batch in batches)
    assert batches[0].x.shape == (4, nca.num_channels, 5, 4)  # repeated twice


@pytest.mark.parametrize("event", EVENTS)
def test_an_error_names_the_callback_and_the_training_is_saved_first(
    event: str, tmp_path: Path
) -> None:
    train(tmp_path / "whole", epochs=2)

    with pytest.raises(
        RuntimeError, match=f"callback Failing must not .*in {event}: Zero"
    ) as caught:
        train(tmp_path / "parts", Failing(event))

    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    train(tmp_path / "parts", seed=9, resume=True)
    whole, parts = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    if event in ("on_start", "on_epoch_start"):
        return  # before the first step there is nothing to keep
    same(whole, parts)


def test_ctrl_c_in_a_callback_ends_a_training_in_good_order(tmp_path: Path) -> None:
    train(tmp_path / "whole")
    events = Events()

    train(tmp_path / "parts", Failing("on_batch_end", KeyboardInterrupt), events)

    assert events.seen[-1] == ("end", "interrupted")
    assert read_checkpoint(tmp_path / "parts" / CHECKPOINT)["batches"] == 1
    train(tmp_path / "parts", seed=9, resume=True)
    whole, parts = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    same(whole, parts)


def test_an_error_at_the_end_does_not_hide_the_one_that_ended_the_training(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Breaking(EchoModel):
        def loss(self, pred: Any, label: Any) -> Any:
            raise LookupError("in the loss")

    events = Events()

    with pytest.raises(LookupError, match="in the loss"):
        train(None, Failing("on_end"), events, nca=Breaking(validation_metric="mse"))

    assert events.seen[-1] == ("end", "failed")
    assert "callback Failing must not raise an error, got one in on_end" in caplog.text


def test_all_callbacks_are_told_of_the_end(caplog: pytest.LogCaptureFixture) -> None:
    events = Events()

    with pytest.raises(RuntimeError, match="callback Failing must not raise"):
        train(None, Failing("on_end"), events)

    assert events.seen[-1] == ("end", "finished")


def test_what_a_callback_draws_changes_no_training(tmp_path: Path) -> None:
    class Drawing(Callback):
        def on_start(self, training: Training) -> None:
            torch.rand(1)

        def on_batch_end(self, training: Training, batch: BatchResult) -> None:
            torch.rand(2)

        def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
            training.nca.predict(torch.rand(1, 1, 5, 4))

    plain, drawing = train(tmp_path / "plain"), train(tmp_path / "drawing", Drawing())

    assert equal(weights(plain), weights(drawing))
    one, other = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("plain", "drawing"))
    same(one, other)


def test_the_states_of_callbacks_are_saved_and_restored(tmp_path: Path) -> None:
    train(tmp_path, Counting(), Events(), Counting())
    first, second = Counting(), Counting()

    train(tmp_path, first, second, epochs=3, resume=True)

    assert (first.count, second.count) == (6, 6)
    kept = read_checkpoint(tmp_path / CHECKPOINT)["callbacks"]
    assert {name: state["count"] for name, state in kept.items()} == {
        "Counting": 6,
        "Counting 2": 6,
    }


def test_a_run_without_callbacks_is_resumed_with_some_and_the_other_way_round(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    counting = Counting()
    train(tmp_path, epochs=1)
    assert "callbacks" not in read_checkpoint(tmp_path / CHECKPOINT)

    train(tmp_path, counting, epochs=2, resume=True)
    assert counting.count == 2 and not caplog.records
    train(tmp_path, epochs=3, resume=True)

    assert "callbacks that are not given now, whose state is dropped: Counting" in caplog.text


@pytest.mark.parametrize("method", ["state_dict", "load_state_dict"])
def test_a_state_that_fails_names_the_callback(method: str, tmp_path: Path) -> None:
    class Broken(Counting):
        pass

    def fail(*_: Any) -> None:
        raise ZeroDivisionError("on purpose")

    train(tmp_path, Broken(), epochs=1)
    broken = Broken()
    setattr(broken, method, fail)

    with pytest.raises(RuntimeError, match=f"Broken must not raise an error, got one in {method}"):
        train(tmp_path, broken, resume=True)


def test_a_state_that_is_no_data_is_refused_before_training(tmp_path: Path) -> None:
    class Odd(Events):
        def state_dict(self) -> dict[str, Any]:
            return {"file": object()}

    odd = Odd()

    with pytest.raises(TypeError, match="callbacks/.*Odd/file must be data that a checkpoint can"):
        train(tmp_path, odd)

    assert not odd.seen


def test_a_callback_may_stop_the_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Stopping(Callback):
        def on_batch_end(self, training: Training, batch: BatchResult) -> None:
            if batch.iteration == 2:
                training.stop()

    with caplog.at_level(logging.INFO):
        train(tmp_path, Stopping(), epochs=9, save_every=100)

    assert read_checkpoint(tmp_path / CHECKPOINT)["epoch"] == 2
    assert "stopped early after epoch 2" in caplog.text


def test_a_callback_may_save_within_an_epoch(tmp_path: Path) -> None:
    class Saving(Callback):
        def on_batch_end(self, training: Training, batch: BatchResult) -> None:
            if batch.iteration == 2:
                training.save()
                assert read_checkpoint(tmp_path / "parts" / CHECKPOINT)["batches"] == 1
            if batch.iteration == 3:
                raise ZeroDivisionError

    train(tmp_path / "whole")

    with pytest.raises(RuntimeError, match="callback .*Saving must not"):
        train(tmp_path / "parts", Saving(), save_every=100)
    train(tmp_path / "parts", seed=9, resume=True)

    whole, parts = (read_checkpoint(tmp_path / name / CHECKPOINT) for name in ("whole", "parts"))
    same(whole, parts)


def test_callbacks_go_with_early_stopping() -> None:
    events = Events()

    train(None, events, epochs=20, earlystopping=EarlyStopping(1, min_delta=1e3))

    assert [number for event, number in events.seen if event == "epoch"] == [1, 2]


@pytest.mark.parametrize(
    ("callbacks", "message"),
    [
        (Events(), "callbacks must be a list of Callback objects, got Events"),
        ([Events], "callbacks must be a list of Callback objects, got the class Events in it"),
        ([print], "got builtin_function_or_method in it"),
    ],
)
def test_what_is_no_list_of_callbacks_is_refused(callbacks: Any, message: str) -> None:
    trainer = BasicNCATrainer(make_tiny(), None, progress=False)

    with pytest.raises(TypeError, match=message):
        trainer.train(loader(), callbacks=callbacks)


def test_an_object_is_not_called_twice() -> None:
    events = Events()
    trainer = BasicNCATrainer(make_tiny(), None, progress=False)

    with pytest.raises(ValueError, match="callbacks must list each object once"):
        trainer.train(loader(), callbacks=[events, events])
