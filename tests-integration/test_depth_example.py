"""The depth example on a folder of the user's, and what its pretrained model is worth."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parent.parent / "examples" / "depth_motorcycle"


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def rows(output: str) -> dict[str, list[float]]:
    """Return the rows of the printed table by the first word of their names."""
    lines = [line.strip("| ").split(" | ") for line in output.splitlines() if line[:1] == "|"]
    return {cells[0].split()[0]: [float(cell) for cell in cells[1:]] for cells in lines[2:]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of four pairs of different sizes; one knows no depth."""
    random = np.random.default_rng(0)
    for number, (width, height) in enumerate([(60, 80), (70, 60), (60, 60), (64, 96)]):
        image = random.integers(0, 256, (width, height, 3), dtype=np.uint8)
        depth = np.linspace(4000, 1000, width)[:, None].repeat(height, axis=1).astype(np.uint16)
        for name, array in (("images", image), ("depths", depth * (number != 3))):
            (tmp_path / "pairs" / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(tmp_path / "pairs" / name / f"{number}.png")
    return tmp_path / "pairs"


def test_a_folder_of_ones_own_is_trained_on_and_measured(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "run"

    trained = run(
        "train.py", "--short", "--data", str(folder), "--scale", "0.001", "--output", str(output)
    )

    assert trained.returncode == 0, trained.stderr
    assert rows(trained.stdout).keys() == {"constant", "model,"}
    assert {"best_model.safetensors", "history.json", "pictures.png", "depth.gif"} <= {
        file.name for file in output.iterdir()
    }


@pytest.mark.parametrize(
    ("damage", "message"),
    [("missing", "must have a depth map"), ("text", "cannot be read as an image")],
)
def test_a_broken_folder_is_named_before_anything_is_written(
    folder: Path, tmp_path: Path, damage: str, message: str
) -> None:
    if damage == "missing":
        (folder / "depths" / "1.png").unlink()
    else:
        (folder / "images" / "1.png").write_text("not a picture")

    result = run("train.py", "--short", "--data", str(folder), "--output", str(tmp_path / "run"))

    assert result.returncode == 2
    assert message in result.stderr and "1.png" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(importlib.util.find_spec("skimage") is None, reason="the scene is its file")
def test_the_pretrained_model_is_better_than_a_constant_in_everything(tmp_path: Path) -> None:
    result = run("evaluate.py", "--output", str(tmp_path))

    measured = rows(result.stdout)
    ssim, delta, mae, rmse, abs_rel = measured["model,"]
    constant = measured["constant"]
    assert ssim > constant[0] and delta > constant[1]
    assert mae < constant[2] and rmse < constant[3] and abs_rel < constant[4]
