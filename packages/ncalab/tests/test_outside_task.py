"""A package of somebody else's, with a task that no part of ncalab knows by name."""

import csv
import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest
from cli_models import Run

from ncalab.cli import tasks as names
from ncalab.core.savable import SavableModel
from ncalab.core.task import registry

MODEL = """
import torch
from torch.utils.data import Dataset
from torchmetrics import MeanAbsoluteError

from ncalab.core import AbstractNCAModel
from ncalab.core.testing import MeanHead


class CountingNCAModel(AbstractNCAModel):
    task = "counting"
    fixed_arguments = frozenset({"num_image_channels", "num_output_channels"})

    def __init__(self, device, num_hidden_channels=4, **kwargs):
        kwargs.setdefault("validation_metric", "mae")
        super().__init__(device, 1, num_hidden_channels, 0, **kwargs)
        self.head = MeanHead(1)
        self.metrics["mae"] = MeanAbsoluteError()
        self.to(device)

    def loss(self, pred, label):
        return {"total": (pred.logits[:, 0] - label).square().mean()}

    def _update_metrics(self, prediction, label):
        self.metrics["mae"].update(prediction.logits[:, 0], label)


class Points(Dataset):
    def __init__(self, path, largest=3):
        self.images = torch.tensor(__import__("numpy").load(path))[:, None].float()
        self.numbers = self.images.sum(dim=(1, 2, 3)).clamp(max=largest)

    def __len__(self):
        return len(self.numbers)

    def __getitem__(self, idx):
        return self.images[idx], self.numbers[idx]
"""

SPEC = """
from ncalab.core.task import DataParts, DataSource, PredictionWriter, TaskSpec
from counting.model import CountingNCAModel, Points


class CountWriter(PredictionWriter):
    endings = ("_seen.png",)
    table = "counts.csv"
    columns = ("number",)

    def write(self, prediction, files):
        number = f"{prediction.logits.item():.3f}"
        files.add_row([number])
        files.save_image("_seen.png", prediction.image_channels_np[0].transpose(1, 2, 0))
        return f"{number} points"


def settings(path: str, largest: int = 3):
    pass


def read(request):
    return DataParts(Points(**request.settings))


SPEC = TaskSpec(
    "counting",
    CountingNCAModel,
    data=(DataSource("Points", settings, read, flips=False),),
    writer=CountWriter,
    commands=("ncalab predict {weights} POINTS",),
    recipe={"ema_decay": None, "lr": 0.01},
)
"""

TEMPLATE = """\
# Train a model that counts points: ncalab train THIS_FILE
device = "cpu"
output = "run"

[model]
class = "CountingNCAModel"
hidden_size = 4
training_timesteps = 2
inference_timesteps = 2

[data]
class = "Points"
path = "points.npy"

[split]
validation = 0.25

[loader]
batch_size = 3

[trainer]
max_epochs = 2
recipe = "recommended"
progress = false
"""


def forget() -> None:
    """Forget which packages are installed, and what was imported from this one."""
    for looked_up in (registry.installed_tasks, registry._load, names._installed):
        looked_up.cache_clear()
    for name in [name for name in sys.modules if name.partition(".")[0] == "counting"]:
        del sys.modules[name]
    SavableModel.registry.pop("CountingNCAModel", None)


@pytest.fixture
def counting(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with a task, as pip does: its modules, and metadata beside them."""
    site = workplace / "site"
    (site / "counting").mkdir(parents=True)
    (site / "counting/__init__.py").write_text("")
    (site / "counting/model.py").write_text(MODEL)
    (site / "counting/spec.py").write_text(SPEC)
    (site / "counting/template.toml").write_text(TEMPLATE)
    metadata = site / "counting-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: counting\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        dedent("""\
            [ncalab.tasks]
            counting = counting.spec:SPEC
            """)
    )
    points = np.zeros((8, 4, 4), np.float32)
    points.reshape(8, 16)[:, :2] = 1
    np.save("points.npy", points)
    np.save("one.npy", points[0])
    monkeypatch.syspath_prepend(site)
    forget()
    yield
    forget()


def test_the_command_line_offers_the_task_and_prints_its_settings_file(
    run: Run, counting: None
) -> None:
    assert "counting" in run("train", "--help").output

    result = run("train", "--print-config", "counting")

    assert result.exit_code == 0 and result.output == TEMPLATE


def test_the_task_is_trained_predicted_and_described(run: Run, counting: None) -> None:
    Path("counting.toml").write_text(TEMPLATE)

    trained = run("train", "counting.toml")
    predicted = run("predict", "run", "one.npy")
    described = run("info", "run")

    assert trained.exit_code == 0, trained.output
    assert (
        "CountingNCAModel with" in trained.output and "6 to train, 2 to validate" in trained.output
    )
    assert "best_mae=" in trained.output
    assert predicted.exit_code == 0, predicted.output
    assert Path("predictions/one_seen.png").is_file()
    rows = list(csv.reader(Path("predictions/counts.csv").read_text().splitlines()))
    assert rows[0] == ["image", "number"] and rows[1][0] == "one.npy"
    assert predicted.stdout == f"one.npy: {rows[1][1]} points\n"
    assert described.exit_code == 0, described.output
    assert "task             counting" in described.output
    assert described.output.endswith("next\n  ncalab predict run POINTS\n")


def test_its_recipe_trains_it(run: Run, counting: None) -> None:
    Path("counting.toml").write_text(TEMPLATE)

    assert run("train", "counting.toml").exit_code == 0

    from ncalab.train.recipe import find_recipe

    recipe = find_recipe("recommended", "counting")
    assert recipe is not None and (recipe.ema_decay, recipe.lr) == (None, 0.01)
    assert json.loads(Path("run/train.json").read_text()) == tomllib.loads(TEMPLATE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("data.larges=1", "data.larges is not a setting of Points; did you mean largest?"),
        ("data.largest=1.5", "data.largest must be a whole number, got 1.5"),
        ("data.flip=true", "data.flip is not a setting of Points"),
        ('data.class="DepthDataset"', "data.class must be one of Points for a model of counting"),
        ("model.fire_rat=1", "did you mean fire_rate?"),
        ("model.num_output_channels=3", "model.num_output_channels is not a setting of Counting"),
    ],
)
def test_its_settings_are_checked_as_those_of_any_task(
    run: Run, counting: None, change: str, message: str
) -> None:
    Path("counting.toml").write_text(TEMPLATE)

    result = run("train", "counting.toml", "--set", change)

    assert result.exit_code == 2 and message in result.stderr, result.output
    assert not Path("run").exists()


def test_a_task_without_a_settings_file_is_named(run: Run, counting: None) -> None:
    Path("site/counting/template.toml").unlink()

    result = run("train", "--print-config", "counting")

    assert result.exit_code == 2
    assert "but counting.spec has no template.toml" in result.stderr
