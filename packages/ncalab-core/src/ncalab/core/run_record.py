"""Read a run folder without importing ncalab.train."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ncalab.core.files import PathLike
from ncalab.core.json_file import (
    COUNT,
    CURVE,
    CURVES,
    FLAG,
    NUMBER_OR_NULL,
    NUMBERS,
    OBJECT,
    TEXT,
    Rule,
    check_fields,
    parse_json,
    read_json,
)

HISTORY_NAME = "history.json"
CHECKPOINT_NAME = "checkpoint.safetensors"
CHECKPOINT_KEY = "ncalab_checkpoint"
"""Key of a training's state in the metadata of its checkpoint."""


@dataclass(frozen=True)
class RunRecord:
    """A training, as its run folder describes it.

    Attributes:
        epochs: Number of epochs done.
        best_epoch: Epoch whose weights are best, from 1; 0 if none is, because none was
            measured or what decides was undefined after each.
        seconds: How long the epochs took.
        split: What the metrics were measured on: "test" or "validation".
        metrics: Value of each metric: on test data if there are any, otherwise at the best epoch,
            or the last one if none is best; NaN where it is undefined.
        settings: Settings of trainer, optimiser and data by name; empty without a checkpoint.
    """

    epochs: int
    best_epoch: int
    seconds: float
    split: str
    metrics: dict[str, float]
    settings: dict[str, Any] = field(default_factory=dict)


# What history.json holds; a reader names those keys that it needs.
_RULES: dict[str, Rule] = {
    "created": TEXT,
    "modified": TEXT,
    "model": OBJECT,
    "current_epoch": COUNT,
    "interrupted": FLAG,
    "skipped_steps": COUNT,
    "best_epoch": COUNT,
    "best_accuracy": NUMBER_OR_NULL,
    "higher_is_better": FLAG,
    "metrics": NUMBERS,
    "test_metrics": NUMBERS,
    "curves.losses": CURVES,
    "curves.metrics": CURVES,
    "curves.lr": CURVE,
    "curves.seconds": CURVE,
}
HISTORY_KEYS = tuple(_RULES)


def check_history(
    where: PathLike, history: Mapping[str, Any], needed: Iterable[str] = HISTORY_KEYS
) -> None:
    """Raise unless what a history holds is of the right kinds.

    Args:
        where: File, or another name of it, for the error.
        history: What ``TrainingHistory.to_dict`` returns, or a part of it.
        needed: What must be there, of ``HISTORY_KEYS``.

    Raises:
        ValueError: If it is broken; the message names key and rule.
    """
    curves = history.get("curves")
    inner = curves if isinstance(curves, Mapping) else {}
    there = {key for key in history if key in _RULES} | {f"curves.{key}" for key in inner}
    wanted = {*needed, *(there & _RULES.keys())}
    check_fields(where, history, {key: rule for key, rule in _RULES.items() if key in wanted})


def read_history_file(path: PathLike, needed: Iterable[str] = HISTORY_KEYS) -> dict[str, Any]:
    """Read a history.json.

    Args:
        path: File.
        needed: What it must hold, of ``HISTORY_KEYS``.

    Returns:
        What it holds; NaN is None.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is broken; the message names file, key and rule.
    """
    history = read_json(path)
    check_history(path, history, needed)
    return history


def read_run(folder: PathLike) -> RunRecord:
    """Read the record of a training from its run folder.

    Args:
        folder: Folder with a ``history.json`` and, for the settings, a checkpoint.

    Raises:
        FileNotFoundError: If it has no history.
        ValueError: If a file is broken.
    """
    path = Path(folder) / HISTORY_NAME
    if not path.is_file():
        raise FileNotFoundError(f"run must be a folder with a {HISTORY_NAME}, got {folder}")
    needed = ("current_epoch", "best_epoch", "test_metrics", "curves.metrics", "curves.seconds")
    history = read_history_file(path, needed)
    best, tested, curves = history["best_epoch"], history["test_metrics"], history["curves"]
    metrics = tested or {name: _at(curve, best) for name, curve in curves["metrics"].items()}
    return RunRecord(
        epochs=history["current_epoch"],
        best_epoch=best,
        seconds=float(sum(second or 0 for second in curves["seconds"])),
        split="test" if tested else "validation",
        metrics={name: _number(value) for name, value in metrics.items()},
        settings=_read_settings(Path(folder) / CHECKPOINT_NAME),
    )


def _at(curve: list[float | None], epoch: int) -> float | None:
    """Return a curve's value at an epoch; its last one where not every epoch was measured."""
    if not curve:
        return None
    return curve[epoch - 1] if 0 < epoch <= len(curve) else curve[-1]


def _number(value: float | None) -> float:
    """Return a number as JSON has it, null for what is undefined."""
    return math.nan if value is None else float(value)


def _read_settings(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        with safe_open(str(path), framework="pt") as file:
            text = (file.metadata() or {})[CHECKPOINT_KEY]
    except (SafetensorError, OSError, LookupError) as error:
        raise ValueError(f"{path} is not a whole checkpoint: {error!r:.200}") from error
    checkpoint = parse_json(path, text)
    check_fields(path, checkpoint, {"state.settings": OBJECT})
    settings: dict[str, Any] = checkpoint["state"]["settings"]
    return {key: value for key, value in settings.items() if not key.startswith("model.")}
