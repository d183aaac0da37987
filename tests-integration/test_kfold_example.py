"""Output of the evaluation of the cross-validation, and its errors for bad input."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "examples" / "kfold_nuclei" / "evaluate.py"
needs_nuclei = pytest.mark.skipif(
    find_spec("stardist") is None, reason="the nuclei are in the package stardist"
)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


@needs_nuclei
def test_the_mean_is_that_of_the_folds() -> None:
    result = run()

    assert result.returncode == 0, result.stderr
    folds = re.findall(r"fold_0\d: dice=(\d\.\d{4})", result.stdout)
    mean = re.search(r"\ndice=(\d\.\d{4}) std=\d\.\d{4}\n", result.stdout)
    assert len(folds) == 3 and mean is not None
    assert float(mean[1]) == pytest.approx(sum(map(float, folds)) / 3, abs=2e-4)


@needs_nuclei
def test_models_that_are_not_there_are_named(tmp_path: Path) -> None:
    result = run("--models", str(tmp_path))

    assert result.returncode == 2
    assert "--models" in result.stderr and "fold_00" in result.stderr
    assert "Traceback" not in result.stderr
