"""Every pretrained model has a card, is rebuilt, and is as good as its card says."""

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

import ncalab.tasks  # noqa: F401 - registers the classes that configurations name
from ncalab.core import AbstractNCAModel

EXAMPLES = Path(__file__).parent.parent / "examples"
FOLDERS = sorted(config.parent for config in EXAMPLES.glob("**/pretrained/**/config.json"))
FIELDS = {
    "license",
    "library_name",
    "pipeline_tag",
    "tags",
    "datasets",
    "model-index",
}
SECTIONS = ["Data", "Training", "Figures", "Use and limits", "Licence"]
LARGEST = 100_000  # bytes

# How far a figure may be from its card by rounding alone: half of the card's last digit, and what
# another order of adding up can do. In float64 instead of float32, and in the reference engine, no
# class, vote or pixel changed, and errors by less than 1e-6 of themselves. So one image in a
# thousand, or two cells, may change at worst.
TOLERANCES = {  # relative, absolute
    "mse": (1e-4, 6e-7),
    "accuracy": (0, 1.1e-3),
    "f1": (0, 1.1e-3),
    "total_agreement": (0, 1.1e-3),
    "roc_auc": (0, 1.5e-4),
    # One of some 20,000 cells of nuclei is 5e-5.
    "dice": (0, 1.5e-4),
    "iou": (0, 1.5e-4),
    "ssim": (0, 6e-5),
    "mae": (0, 6e-5),
    "rmse": (0, 6e-5),
    "abs_rel": (0, 6e-5),
    # One of 2,000 cells is 5e-4.
    "delta1": (0, 1.1e-3),
}


def named(folder: Path) -> str:
    return folder.relative_to(EXAMPLES).as_posix()


each_model = pytest.mark.parametrize("folder", FOLDERS, ids=named)


def read_card(folder: Path) -> tuple[dict[str, Any], str]:
    """Return front matter and text of a card."""
    _, front, text = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), text


def stated(folder: Path) -> list[dict[str, Any]]:
    """Return the metrics that a card states."""
    (model,) = read_card(folder)[0]["model-index"]
    return [metric for result in model["results"] for metric in result["metrics"]]


def example_of(folder: Path) -> Path:
    return EXAMPLES / folder.relative_to(EXAMPLES).parts[0]


@contextmanager
def figures_of(example: Path) -> Iterator[Any]:
    """Import the figures of an example, as its scripts do, and forget its modules afterwards."""
    before = set(sys.modules)
    sys.path.insert(0, str(example))
    try:
        yield importlib.import_module("figures")
    finally:
        sys.path.remove(str(example))
        for name in set(sys.modules) - before:
            if Path(getattr(sys.modules[name], "__file__", None) or "").parent == example:
                del sys.modules[name]


def test_every_example_has_models_or_names_those_of_another() -> None:
    examples = {script.parent for script in EXAMPLES.glob("*/train.py")}

    for example in examples - {example_of(folder) for folder in FOLDERS}:
        readme = (example / "README.md").read_text(encoding="utf-8")
        links = [f"](../{named(folder)}/README.md)" for folder in FOLDERS]
        assert any(link in readme for link in links), example.name


NEWER_OPTIONS = {
    "dt": 1.0,
    "goal_size": 0,
    "lambda_seed": 0.0,
    "num_goals": None,
    "perception_args": None,
    "perception_type": "BasicNCAPerception",
    "spatial_dims": 2,
}


def without_newer_options(now: dict[str, Any], saved: dict[str, Any]) -> dict[str, Any]:
    """Leave out options that a file is older than, if they keep what it computes."""
    kept = {
        key: value
        for key, value in now.items()
        if key in saved or (key, value) not in NEWER_OPTIONS.items()
    }
    if "wrapped" in saved:
        kept["wrapped"] = without_newer_options(now["wrapped"], saved["wrapped"])
    return kept


@each_model
def test_a_card_says_everything(folder: Path) -> None:
    front, text = read_card(folder)

    assert set(front) == FIELDS and all(front.values())
    assert front["library_name"] == "ncalab" and "neural-cellular-automata" in front["tags"]
    headings = [line[3:] for line in text.splitlines() if line.startswith("## ")]
    assert headings == SECTIONS
    (index,) = front["model-index"]
    assert f"# {index['name']}\n" in text
    for result in index["results"]:
        assert result["task"]["type"] == front["pipeline_tag"]
        assert result["dataset"]["type"] in front["datasets"]
    for metric in stated(folder):
        assert metric["type"] in TOLERANCES
        digits = 6 if metric["type"] == "mse" else 4
        assert f"| `{metric['name']}` | {metric['value']:.{digits}f} |" in text
    example = f"python examples/{example_of(folder).name}"
    assert f"{example}/train.py" in text and f"{example}/evaluate.py" in text
    assert "Seed " in text and f'from_pretrained("examples/{named(folder)}")' in text


@each_model
def test_a_small_file_rebuilds_the_model(folder: Path) -> None:
    model = AbstractNCAModel.from_pretrained(folder)

    saved = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert without_newer_options(model.to_dict(), saved) == saved
    assert (folder / "model.safetensors").stat().st_size < LARGEST
    text = " ".join(read_card(folder)[1].split())  # a line may end anywhere
    assert f"{model.num_trainable_parameters():,} parameters" in text
    assert type(model).__name__ in text


@each_model
def test_the_figures_of_the_card_are_measured(folder: Path) -> None:
    with figures_of(example_of(folder)) as figures:
        try:
            measured = figures.measure_pretrained(folder)
        except SystemExit as missing:
            pytest.skip(f"its data are not installed: {missing}")

    for metric in stated(folder):
        relative, absolute = TOLERANCES[metric["type"]]
        expected = pytest.approx(metric["value"], rel=relative, abs=absolute)
        assert measured[metric["name"]] == expected, metric["name"]
