"""A damaged checkpoint, split, history or result is what was written, or an error that names it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from damaged_files import damage, damage_text, read_or_name, wrong_values
from safetensors.torch import load_file, save_file
from train_models import loader, make_tiny

from ncalab.core.run_record import CHECKPOINT_NAME
from ncalab.core.saving import read_tensors
from ncalab.train import BasicNCATrainer, SplitDefinition
from ncalab.train.cross_validation import read_history
from ncalab.train.history import HISTORY_NAME
from ncalab.train.result import TrainingResult, read_result, write_result

MANY = 60


def train(folder: Path, epochs: int, *, resume: bool = False) -> Any:
    torch.manual_seed(0)
    trainer = BasicNCATrainer(make_tiny(), folder, max_epochs=epochs, progress=False)
    return trainer.train(loader(), resume=resume)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a finished training."""
    train(tmp_path / "run", 2)
    return tmp_path / "run"


@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_checkpoint_is_named(run: Path, sealed: bool) -> None:
    path = run / CHECKPOINT_NAME
    if not sealed:
        metadata = read_tensors(path)[1]
        kept = {key: value for key, value in metadata.items() if key != "ncalab_sha256"}
        save_file(load_file(path), path, kept)
    whole = path.read_bytes()

    for seed in range(MANY):
        path.write_bytes(damage(whole, seed))
        read_or_name(lambda: train(run, 2, resume=True), path, run)


def test_a_damaged_history_is_named(run: Path) -> None:
    path = run / HISTORY_NAME
    whole = path.read_bytes()

    for seed in range(MANY):
        path.write_bytes(damage_text(whole, seed))
        read_or_name(lambda: read_history(run, make_tiny()), path)


def test_every_wrong_value_of_a_history_is_named_with_its_key(run: Path) -> None:
    path = run / HISTORY_NAME

    for key, content in wrong_values(json.loads(path.read_text())):
        path.write_bytes(content)
        try:
            read_history(run, make_tiny())
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            assert key.split(".")[0] in str(error)


def test_a_damaged_split_is_named(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    folds = [{"train": ["a.png", "b.png"], "val": ["c.png"]}, {"train": ["c.png"], "val": ["ü"]}]
    whole = json.dumps(folds, ensure_ascii=False, indent=1).encode()

    for seed in range(MANY):
        path.write_bytes(damage_text(whole, seed))
        read_or_name(lambda: len(SplitDefinition.read(path)), path)


def test_a_damaged_result_is_named(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_result(
        path, TrainingResult("mse", False, 0.5, 1, 2, 0.25, {"mse": 0.5}, {"mse": float("nan")})
    )
    whole = path.read_bytes()

    for seed in range(MANY):
        path.write_bytes(damage_text(whole, seed))
        read_or_name(lambda: read_result(path), path)
    for key, content in wrong_values(json.loads(whole)):
        path.write_bytes(content)
        try:
            read_result(path)
        except ValueError as error:
            assert str(path) in str(error)
            assert key.split(".")[0] in str(error)
