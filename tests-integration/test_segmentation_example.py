"""The segmentation example on a folder, on bad input, and on its data at hand."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parent.parent / "examples" / "segmentation_nuclei"
needs_nuclei = pytest.mark.skipif(
    find_spec("stardist") is None, reason="the nuclei are in the package stardist"
)


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(EXAMPLE / script), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of five colour images and their masks, of different sizes."""
    generator = np.random.default_rng(0)
    for place in ("images", "masks"):
        (tmp_path / "data" / place).mkdir(parents=True)
    for i in range(5):
        size = (40 + i, 50 - i)
        image = generator.integers(0, 256, (*size, 3), dtype=np.uint8)
        mask = np.where(image[..., 0] > 100, 255, 0).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "data" / "images" / f"{i}.jpg")
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"{i}.jpg", quality=95)
    return tmp_path / "data"


@pytest.mark.parametrize("options", [[], ["--cascade"]], ids=["plain", "cascade"])
def test_a_folder_of_images_and_masks_is_trained_on(
    folder: Path, tmp_path: Path, options: list[str]
) -> None:
    output = tmp_path / "run"

    result = run("train.py", "--short", *options, "--data", str(folder), "--output", str(output))

    assert result.returncode == 0, result.stderr
    assert re.search(r"test: dice=\d\.\d{4} iou=\d\.\d{4}\n$", result.stdout)
    written = {file.name for file in output.iterdir()}
    assert {"best_model.safetensors", "prediction.png", "prediction.gif"} <= written


def test_a_broken_mask_is_named_before_training(folder: Path, tmp_path: Path) -> None:
    (folder / "masks" / "3.jpg").write_text("no picture")

    result = run("train.py", "--short", "--data", str(folder), "--output", str(tmp_path / "run"))

    assert result.returncode == 2
    assert "masks/3.jpg cannot be read as an image" in result.stderr
    assert "Traceback" not in result.stderr


def test_classes_that_the_nuclei_do_not_have_are_refused(tmp_path: Path) -> None:
    result = run("train.py", "--classes", "2", "--output", str(tmp_path / "run"))

    assert result.returncode == 2
    assert "--classes must be 1 or 3 for the nuclei, got 2" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(find_spec("stardist") is not None, reason="the nuclei are there")
def test_without_the_nuclei_the_package_is_named(tmp_path: Path) -> None:
    result = run("evaluate.py", "--output", str(tmp_path / "evaluation"))

    assert result.returncode == 1
    assert "pip install --no-deps -r" in result.stderr and "data.txt" in result.stderr
    assert "Traceback" not in result.stderr


@needs_nuclei
def test_a_cascade_is_set_against_the_plain_model_on_the_whole_picture(tmp_path: Path) -> None:
    models = [str(EXAMPLE / "pretrained" / name) for name in ("nucleus", "cascade")]
    output = tmp_path / "evaluation"

    result = run("evaluate.py", "--rounds", "1", "--model", *models, "--output", str(output))

    assert result.returncode == 0, result.stderr
    of_all = dict(re.findall(r"whole picture, (\w+): dice=(\d\.\d+)", result.stdout))
    assert float(of_all["cascade"]) > float(of_all["nucleus"])
    assert re.search(r"iou=\d\.\d+, \d\.\d\d of its time\n$", result.stdout)
    written = {file.name for file in output.iterdir()}
    assert written == {"nucleus.png", "nucleus.gif", "cascade.png", "cascade.gif"}


def test_cascade_steps_below_one_are_refused(tmp_path: Path) -> None:
    steps = ("--cascade-steps", "8", "0", "6")

    result = run("train.py", "--cascade", *steps, "--output", str(tmp_path / "run"))

    assert result.returncode == 2
    assert "--cascade-steps must be at least 1 each, got [8, 0, 6]" in result.stderr
    assert not (tmp_path / "run").exists()


def test_weights_that_are_not_there_are_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.safetensors"

    result = run("evaluate.py", "--model", str(missing), "--output", str(tmp_path / "evaluation"))

    assert result.returncode == 2
    assert "missing.safetensors" in result.stderr and "Traceback" not in result.stderr
