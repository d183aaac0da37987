"""Errors of the growing example for bad input, before any work is done."""

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parent.parent / "examples" / "growing_emoji"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def test_an_image_that_is_no_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.png").write_text("not a picture")

    result = run(
        "train.py", "--image", str(tmp_path / "notes.png"), "--output", str(tmp_path / "o")
    )

    assert result.returncode != 0
    assert "--image must be a picture that can be read" in result.stderr
    assert "notes.png" in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "o").exists()


def test_an_output_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")

    result = run("train.py", "--output", str(tmp_path / "file"))

    assert result.returncode == 2
    assert "--output must be a writable folder" in result.stderr
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("damage", ["truncated", "foreign"])
def test_weights_that_are_none_are_named(tmp_path: Path, damage: str) -> None:
    whole = (EXAMPLE / "pretrained" / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[:-100] if damage == "truncated" else b"?")

    result = run("evaluate.py", "--model", str(tmp_path / "model.safetensors"))

    assert result.returncode != 0
    assert "model.safetensors is not a whole safetensors file" in result.stderr
