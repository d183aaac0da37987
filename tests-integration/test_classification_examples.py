"""Errors of the classification examples for bad input, and their results for each kind of data."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(example: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLES / example / "train.py"), "--short", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("example", ["selfclass_mnist", "class_fashion_mnist"])
def test_a_folder_without_images_is_named(example: str, tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"not an IDX file")

    result = run(example, "--data", str(tmp_path), "--output", str(tmp_path / "o"))

    assert result.returncode != 0
    assert (
        "--data" in result.stderr and "train-images-idx3-ubyte is not an IDX file" in result.stderr
    )
    assert "Traceback" not in result.stderr and not (tmp_path / "o").exists()


def test_images_of_medmnist_are_trained_on_tested_and_shown(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    splits = {}
    for split, count in (("train", 40), ("val", 6), ("test", 20)):
        splits[f"{split}_labels"] = np.arange(count, dtype=np.uint8)[:, None] % 3
        splits[f"{split}_images"] = draw.integers(0, 256, (count, 12, 10, 3), dtype=np.uint8)
    np.savez(tmp_path / "med.npz", **splits)  # type: ignore[arg-type]  # names of arrays
    output = tmp_path / "run"

    result = run(
        "class_fashion_mnist", "--medmnist", str(tmp_path / "med.npz"), "--output", str(output)
    )

    assert result.returncode == 0, result.stderr
    assert "40 to train, 6 to validate" in result.stdout
    assert "20 test images" in result.stdout and "accuracy_micro=" in result.stdout
    for name in ("history.json", "predictions.png", "hidden.gif", "pretrained/config.json"):
        assert (output / name).is_file()
