"""The zoo of growing emoji: every model lasts and heals, as its page says, and the scripts run."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from ncalab.tasks import GrowingNCAModel
from ncalab.tasks.growing.report import cut_circle, random_places

ZOO = Path(__file__).parent.parent / "examples" / "growing_zoo"
MODELS = sorted(path.parent for path in ZOO.glob("pretrained/*/config.json"))


def mse(states: Tensor, target: Tensor) -> list[float]:
    return (states[:, :4] - target).square().flatten(1).mean(1).tolist()


@pytest.mark.parametrize("folder", MODELS, ids=lambda folder: folder.name)
def test_a_picture_stays_for_5000_steps_and_heals(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(ZOO)
    model = GrowingNCAModel.from_pretrained(folder)
    target = importlib.import_module("pictures").target_of(folder.name, model)
    side = target.shape[1]
    grown: list[Tensor] = []

    def keep(step: int, state: Tensor) -> bool:
        if step in (96, 5000):
            grown.append(state.clone())
        return False

    model.predict(model.make_seed(side, side), 5000, seed=1, on_step=keep)
    arrived, stayed = grown
    places = random_places(target, 8, seed=7)
    hurt = torch.cat([cut_circle(stayed, place) for place in places])
    healed = model.predict(hurt, 150, seed=2).output_image

    assert mse(arrived, target)[0] < 0.003
    assert mse(stayed, target)[0] < 0.003
    assert min(mse(hurt, target)) > 0.003
    closed = [error < max(0.001, 2 * mse(stayed, target)[0]) for error in mse(healed, target)]
    assert all(closed)


def test_one_command_grows_a_model_and_writes_its_card(tmp_path: Path) -> None:
    command = [sys.executable, str(ZOO / "train.py"), "--short", "--output", str(tmp_path / "zoo")]

    first = subprocess.run(command, capture_output=True, text=True)
    again = subprocess.run(command, capture_output=True, text=True)

    assert first.returncode == 0 and again.returncode == 0, first.stderr + again.stderr
    (folder,) = (tmp_path / "zoo" / "pretrained").iterdir()
    assert {file.name for file in folder.iterdir()} == {
        "README.md",
        "config.json",
        "growth.json",
        "model.safetensors",
    }
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "2\nsteps of the optimiser" in card and "| `mse_step_5000` |" in card
    assert "is there already" in again.stderr
    wrong = subprocess.run([*command, "unicorn"], capture_output=True, text=True)
    assert wrong.returncode == 2 and "NAMES must be of butterfly" in wrong.stderr
