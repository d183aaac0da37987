"""Damaged files of estimators and runs are named, with the key that is wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from damaged_files import damage_text, read_or_name, wrong_values

from ncalab.cli.jobs.files import GROW_FILE
from ncalab.cli.jobs.info import collect
from ncalab.cli.jobs.weights import grid_of
from ncalab.estimators import NCAClassifier
from ncalab.estimators.files import ESTIMATOR_NAME
from ncalab.tasks import GrowingNCAModel
from ncalab.train import TrainingHistory
from ncalab.train.history import HISTORY_NAME

MANY = 50


@pytest.fixture
def folder(tmp_path: Path, growing: GrowingNCAModel) -> Path:
    """Return the folder of a run."""
    history = TrainingHistory(tmp_path, {}, 0, growing)
    history.add_epoch({"total": 0.5}, lr=0.1, seconds=2.0, metrics={})
    history.update(1, growing, 0.5)
    history.save()
    (tmp_path / GROW_FILE).write_text(json.dumps({"grid": [9, 7]}))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "read"),
    [(HISTORY_NAME, collect), (GROW_FILE, lambda folder: grid_of(folder, None))],
)
def test_a_damaged_file_of_a_run_is_named(
    folder: Path, name: str, read: Callable[[Path], Any]
) -> None:
    path = folder / name
    whole = path.read_bytes()

    for seed in range(MANY):
        path.write_bytes(damage_text(whole, seed))
        read_or_name(lambda: read(folder), path)
    for key, content in wrong_values(json.loads(whole)):
        path.write_bytes(content)
        try:
            read(folder)
        except ValueError as error:
            assert str(error).startswith(f"{path}: ")
            assert key.split(".")[0] in str(error)


def test_a_damaged_estimator_is_named(tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((6, 4, 4))
    estimator = NCAClassifier(epochs=1, num_hidden_channels=2, hidden_size=4, random_state=0)
    estimator.fit(images, ["a", "b"] * 3).save_pretrained(tmp_path)
    path = tmp_path / ESTIMATOR_NAME
    whole = path.read_bytes()

    for seed in range(MANY):
        path.write_bytes(damage_text(whole, seed))
        read_or_name(lambda: NCAClassifier.from_pretrained(tmp_path), path)
    for _, content in wrong_values(json.loads(whole)):
        path.write_bytes(content)
        found = read_or_name(lambda: NCAClassifier.from_pretrained(tmp_path), path)
        assert found is None or found.predict(images) is not None


def test_an_estimator_that_has_changed_counts_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    images = np.random.default_rng(0).random((6, 4, 4))
    estimator = NCAClassifier(epochs=1, num_hidden_channels=2, hidden_size=4, random_state=0)
    estimator.fit(images, ["a", "b"] * 3).save_pretrained(tmp_path)
    path = tmp_path / ESTIMATOR_NAME
    saved = json.loads(path.read_text())
    path.write_text(json.dumps(saved))
    assert NCAClassifier.from_pretrained(tmp_path).seed_ == estimator.seed_
    assert not caplog.records

    path.write_text(json.dumps(saved | {"seed": 7}))

    assert NCAClassifier.from_pretrained(tmp_path).seed_ == 7
    assert f"{path} is not what was saved" in caplog.text
    caplog.clear()
    saved.pop("sha256")
    path.write_text(json.dumps(saved | {"seed": 8}))
    assert NCAClassifier.from_pretrained(tmp_path).seed_ == 8 and not caplog.records


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_shape": [4, 4, 2]}, "must describe the ClassificationNCAModel of 1 channels"),
        ({"classes": ["a", "b", "c"]}, "classes must be 2, got 3"),
    ],
)
def test_an_estimator_that_does_not_fit_its_model_is_named(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    images = np.random.default_rng(0).random((6, 4, 4))
    estimator = NCAClassifier(epochs=1, num_hidden_channels=2, hidden_size=4, random_state=0)
    estimator.fit(images, ["a", "b"] * 3).save_pretrained(tmp_path)
    path = tmp_path / ESTIMATOR_NAME
    path.write_text(json.dumps(json.loads(path.read_text()) | change))

    with pytest.raises(ValueError, match=f"{ESTIMATOR_NAME}:? {message}"):
        NCAClassifier.from_pretrained(tmp_path)
