"""An error in model, loss or data ends a training, and what was trained is kept."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, IterableDataset
from train_models import EchoModel, equal, loader, make_tiny, same, weights

from ncalab.core import Prediction
from ncalab.train import BasicNCATrainer, Pool
from ncalab.train.checkpoint import read_checkpoint

EPOCHS = 3


class Breaking(EchoModel):
    """Raises an error in one of its losses, or of its validations."""

    def __init__(self) -> None:
        super().__init__(validation_metric="mse")
        self.failing: dict[str, int] = {}
        self.calls = {"loss": 0, "validation": 0}

    def _count(self, name: str) -> None:
        self.calls[name] += 1
        if self.calls[name] == self.failing.get(name):
            raise ZeroDivisionError(f"in {name} {self.calls[name]}")

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        if torch.is_grad_enabled():
            self._count("loss")
        return super().loss(pred, label)

    def _update_metrics(self, prediction: Prediction, label: Tensor) -> None:
        self._count("validation")
        super()._update_metrics(prediction, label)


def train(
    folder: Path, *, resume: bool = False, seed: int = 0, failing: dict[str, int] | None = None
) -> Breaking:
    torch.manual_seed(seed)
    nca = Breaking()
    nca.failing = failing or {}
    trainer = BasicNCATrainer(
        nca, folder, max_epochs=EPOCHS, pool=Pool(size=3), ema_decay=0.9, progress=False
    )
    trainer.train(loader(shuffle=True), loader(2), save_every=100, resume=resume)
    return nca


@pytest.mark.parametrize(
    "failing",
    [*({"loss": n} for n in range(2, 2 * EPOCHS + 1)), *({"validation": n} for n in (1, 2, 3))],
    ids=str,
)
def test_a_training_that_an_error_ended_goes_on_to_the_bit(
    tmp_path: Path, failing: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    train(tmp_path / "whole")

    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "parts", failing=failing)
    assert "after an error, epoch" in caplog.text
    train(tmp_path / "parts", resume=True, seed=9)

    whole, parts = (tmp_path / name / "checkpoint.safetensors" for name in ("whole", "parts"))
    same(read_checkpoint(whole), read_checkpoint(parts))


def test_before_the_first_step_there_is_nothing_to_keep(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "a" / "run", failing={"loss": 1})

    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_there_stays(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, failing={"loss": 1})

    assert tmp_path.is_dir() and not list(tmp_path.iterdir())


def test_a_broken_file_in_a_later_epoch_costs_no_epoch(tmp_path: Path) -> None:
    class Stream(IterableDataset[Any]):
        epochs = 0

        def __iter__(self) -> Iterator[Any]:
            self.epochs += 1
            yield from list(loader().dataset)  # type: ignore[call-overload]  # it has a length
            if self.epochs == 3:
                raise OSError("broken")

    trainer = BasicNCATrainer(make_tiny(), tmp_path, max_epochs=9, progress=False)

    with pytest.raises(OSError, match="broken"):
        trainer.train(DataLoader(Stream(), batch_size=2), save_every=100)

    state = read_checkpoint(tmp_path / "checkpoint.safetensors")
    assert (state["epoch"], state["batches"]) == (2, 2)
    saved = EchoModel.from_pretrained(tmp_path / "last_model.safetensors")
    assert equal(weights(saved), weights(trainer.nca))


def test_half_a_step_is_not_saved(tmp_path: Path) -> None:
    def schedule(optimizer: torch.optim.Optimizer) -> LambdaLR:
        return LambdaLR(optimizer, lambda epoch: 1 / (3 - epoch))  # breaks after the third

    trainer = BasicNCATrainer(
        make_tiny(), tmp_path, max_epochs=9, lr_scheduler=schedule, progress=False
    )

    with pytest.raises(ZeroDivisionError):
        trainer.train(loader(), save_every=2)

    assert read_checkpoint(tmp_path / "checkpoint.safetensors")["epoch"] == 2


def test_an_error_while_saving_what_is_left_does_not_hide_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ncalab.train.callbacks.checkpointing.write_checkpoint", full)

    with pytest.raises(ZeroDivisionError):
        train(tmp_path / "run", failing={"loss": 3})

    assert "could not be saved" in caplog.text
    assert not (tmp_path / "run").exists()
