"""What the growing example says to bad input, before any work is done."""

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
    assert "model.safetensors is no whole safetensors file" in result.stderr


def pretrained_errors(*steps: int) -> list[float]:
    """Return the mean squared error of the pretrained lizard after some numbers of steps."""
    script = "; ".join(
        [
            f"import sys; sys.path.insert(0, {str(EXAMPLE)!r})",
            "from pathlib import Path; import picture",
            "from ncalab import GrowingNCADataset, GrowingNCAModel",
            f"here = Path({str(EXAMPLE)!r})",
            "nca = GrowingNCAModel.from_pretrained(here / 'pretrained')",
            "image = picture.load_emoji(here / 'lizard.png', 40, 4)",
            "target = GrowingNCADataset(image, nca.num_channels).image",
            f"print(*(picture.mse_from_seed(nca, target, n) for n in {steps}))",
        ]
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return [float(error) for error in result.stdout.split()]


def test_the_pretrained_lizard_grows_and_lasts() -> None:
    at_64, at_96, at_500 = pretrained_errors(64, 96, 500)

    assert max(at_64, at_96) <= 0.002
    assert at_500 <= 0.006
