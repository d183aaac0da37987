"""Disks that are full or read-only, and what a failure must leave whole."""

import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from train_models import EchoModel, loader, make_tiny, weights

import ncalab.core.saving
from ncalab.train import BasicNCATrainer
from ncalab.train.callbacks import Checkpointing
from ncalab.train.checkpoint import read_checkpoint
from ncalab.train.run_folder import prepare_folder, remove_leftovers


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def trainer(folder: Path, epochs: int) -> BasicNCATrainer:
    return BasicNCATrainer(make_tiny(), folder, max_epochs=epochs, progress=False)


@pytest.mark.parametrize("failing", ["checkpoint", "best_model", "history.json", "last_model"])
def test_a_disk_that_fills_up_is_reported_at_once_and_nothing_is_torn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    trainer(tmp_path, 2).train(loader(), save_every=1)
    replace = Path.replace

    def full(self: Path, target: Any) -> Path:
        if Path(target).name.startswith(failing):
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)

    with pytest.raises(OSError, match="epoch 3 could not be saved .No space left") as caught:
        trainer(tmp_path, 9).train(loader(), save_every=1, resume=True)

    assert caught.value.errno == errno.ENOSPC
    last = 2 if failing == "checkpoint" else 3
    assert f"the last good checkpoint is that of epoch {last}" in str(caught.value)
    monkeypatch.undo()
    assert read_checkpoint(tmp_path / "checkpoint.safetensors")["epoch"] == last
    for name in ("last_model", "best_model"):
        EchoModel.from_pretrained(tmp_path / f"{name}.safetensors")
    assert not list(tmp_path.glob(".*"))
    assert trainer(tmp_path, 4).train(loader(), resume=True).current_epoch == 4


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with room for 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("only root may mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_without_room_is_reported_before_training(small_disk: Path) -> None:
    (small_disk / "precious").write_bytes(bytes(60_000))
    run = trainer(small_disk / "run", 2)
    before = weights(run.nca)

    with pytest.raises(ValueError, match="model_path must be a writable folder, .*No space left"):
        run.train(loader())

    assert all((a == b).all() for a, b in zip(before, weights(run.nca), strict=True))
    assert (small_disk / "precious").stat().st_size == 60_000


def test_a_folder_that_became_read_only_is_reported_before_training(small_disk: Path) -> None:
    trainer(small_disk, 1).train(loader())
    before = contents(small_disk)
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)

    with pytest.raises(ValueError, match="model_path must be a writable folder, .*[Rr]ead-only"):
        trainer(small_disk, 2).train(loader(), resume=True)

    assert contents(small_disk) == before


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_reported_before_training(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)

    with pytest.raises(ValueError, match="model_path must be a writable folder"):
        trainer(tmp_path, 1).train(loader())


def test_a_state_that_cannot_be_saved_is_reported_before_training(tmp_path: Path) -> None:
    import torch

    class Odd(torch.optim.lr_scheduler.StepLR):
        def __init__(self, optimizer: torch.optim.Optimizer) -> None:
            self.odd = object()
            super().__init__(optimizer, 1)

    run = BasicNCATrainer(make_tiny(), tmp_path, lr_scheduler=Odd, progress=False)

    with pytest.raises(TypeError, match="scheduler/odd must be data that a checkpoint can hold"):
        run.train(loader())

    assert not list(tmp_path.iterdir())


def test_saving_is_spaced_out_where_it_takes_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[int] = []

    def write(self: Checkpointing, training: Any) -> bool:
        saves.append(training.history.current_epoch)
        return False

    monkeypatch.setattr(Checkpointing, "write", write)
    run = trainer(tmp_path, 3)
    original = Checkpointing.__init__

    def slow(self: Checkpointing, *arguments: Any, **options: Any) -> None:
        original(self, *arguments, **options)
        self._seconds_saving = 1e9

    monkeypatch.setattr(Checkpointing, "__init__", slow)
    run.train(loader())

    assert saves == [3]  # the last epoch is always saved


def test_leftovers_of_other_files_are_left_alone(tmp_path: Path) -> None:
    for name in (".history.json.ab.tmp", ".checkpoint.safetensors.cd.tmp", ".mine.tmp", "x.tmp"):
        (tmp_path / name).touch()

    remove_leftovers(tmp_path)

    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.tmp", "x.tmp"]


def test_a_new_folder_is_created_and_has_nothing_to_go_on_from(tmp_path: Path) -> None:
    assert not prepare_folder(tmp_path / "a" / "b", resume=True, overwrite=False, size=1)
    assert (tmp_path / "a" / "b").is_dir()


def test_the_write_that_is_checked_has_the_size_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))

    ncalab.core.saving.check_writable_folder(tmp_path, size=1234)

    assert synced == [1234]
