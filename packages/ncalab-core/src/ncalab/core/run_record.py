"""What the folder of a training tells about it: read as data, whoever wrote it."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from ncalab.core.saving import PathLike

HISTORY_NAME = "history.json"
CHECKPOINT_NAME = "checkpoint.safetensors"
_CHECKPOINT_KEY = "ncalab_checkpoint"


@dataclass(frozen=True)
class RunRecord:
    """A training, as its run folder describes it.

    Attributes:
        epochs: Number of epochs done.
        best_epoch: Epoch whose weights are best, from 1; 0 if there is none, because none was
            measured or what decides was undefined after each.
        seconds: How long the epochs took.
        split: What the metrics were measured on: "test" or "validation".
        metrics: Value of each metric: on test data if there are any, otherwise at the best epoch,
            or the last one if there is no best; NaN where it is undefined.
        settings: Settings of trainer, optimiser and data by name; empty without a checkpoint.
    """

    epochs: int
    best_epoch: int
    seconds: float
    split: str
    metrics: dict[str, float]
    settings: dict[str, Any] = field(default_factory=dict)


def read_run(folder: PathLike) -> RunRecord:
    """Read the record of a training from its run folder.

    Args:
        folder: Folder with a ``history.json`` and, for the settings, a checkpoint.

    Raises:
        FileNotFoundError: If there is no history in it.
        ValueError: If a file is broken.
    """
    path = Path(folder) / HISTORY_NAME
    if not path.is_file():
        raise FileNotFoundError(f"run must be a folder with a {HISTORY_NAME}, got {folder}")
    try:
        history = json.loads(path.read_text(encoding="utf-8"))
        best = int(history["best_epoch"])
        tested, curves = history["test_metrics"], history["curves"]
        metrics = tested or {name: _at(curve, best) for name, curve in curves["metrics"].items()}
        return RunRecord(
            epochs=int(history["current_epoch"]),
            best_epoch=best,
            seconds=float(sum(curves["seconds"])),
            split="test" if tested else "validation",
            metrics={name: _number(value) for name, value in metrics.items()},
            settings=_read_settings(Path(folder) / CHECKPOINT_NAME),
        )
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(f"run must hold a whole {HISTORY_NAME}, got {path} ({error!r})") from error


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
            text = (file.metadata() or {})[_CHECKPOINT_KEY]
        settings: dict[str, Any] = json.loads(text)["state"]["settings"]
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path} is no whole checkpoint: {error}") from error
    return {key: value for key, value in settings.items() if not key.startswith("model.")}
