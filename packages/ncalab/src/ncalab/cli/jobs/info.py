"""Describe a model and its training."""

import json
import shlex
from pathlib import Path
from typing import Any

from ncalab.cli.jobs.ending import shown_value
from ncalab.cli.jobs.files import GROW_FILE, PRETRAINED, TRAIN_FILE
from ncalab.cli.jobs.goals import any_goal
from ncalab.cli.jobs.weights import find_weights, load_model
from ncalab.core import AbstractNCAModel, Preparation
from ncalab.core.json_file import read_json
from ncalab.core.preparation import PREPARATION_KEY
from ncalab.core.run_record import read_history_file
from ncalab.core.task import spec_of
from ncalab.tasks import CascadeNCA
from ncalab.train.history import HISTORY_NAME

Facts = dict[str, Any]

_SHOWN_LENGTH = 60


def receptive_field(model: AbstractNCAModel) -> int | None:
    """Return the side of the square of pixels that can reach a cell in a prediction.

    Args:
        model: Model or cascade.

    Returns:
        Number of pixels, for the largest number of steps of a prediction; for a cascade, about.
        None if a step may look anywhere.
    """
    reach = (model.wrapped if isinstance(model, CascadeNCA) else model).reach
    if reach is None:
        return None
    most = _largest(model.inference_timesteps)
    if isinstance(model, CascadeNCA):
        pairs = zip(model.scales, model.runner.share(most), strict=True)
        return 2 * reach * sum(scale * steps for scale, steps in pairs) + 1
    return 2 * reach * most + 1


def _largest(steps: int | tuple[int, int]) -> int:
    return steps if isinstance(steps, int) else steps[1] - 1


def collect(weights: Path) -> Facts:
    """Return what there is to know, as data.

    Args:
        weights: As in :func:`ncalab.cli.jobs.weights.find_weights`.

    Returns:
        "class", "task", "weights" (the file or folder read), "parameters" (their number), "bytes"
        (of them), "steps", "receptive_field" (pixels, or None), "preparation" (of images; None if
        it is not known), "configuration", "history" (None without one) and "next" (commands to go
        on with).
    """
    model = load_model(weights)
    config = model.to_dict()
    config.pop(PREPARATION_KEY, None)
    return {
        "class": config.pop("class"),
        "task": model.task,
        "weights": str(find_weights(weights)),
        "parameters": sum(p.numel() for p in model.parameters()),
        "bytes": sum(p.nbytes for p in model.parameters()),
        "steps": model.inference_timesteps,
        "receptive_field": receptive_field(model),
        "preparation": None if model.preparation is None else model.preparation.to_dict(),
        "configuration": config,
        "history": _history(weights),
        "next": [*_resumption(weights), *_suggestions(model, weights)],
    }


def _history(weights: Path) -> Facts | None:
    """Return how the training went whose folder this is, or lies in."""
    file = _run_folder(weights) / HISTORY_NAME
    if not file.is_file():
        return None
    data = read_history_file(file)
    curves = data["curves"]
    total = curves["losses"].get("total") or [None]
    return {
        "epochs": data["current_epoch"],
        "best_epoch": data["best_epoch"],
        "decided_by": _deciding_metric(data["model"]) if curves["metrics"] else "loss",
        "best": data["best_accuracy"] if data["best_epoch"] else None,
        "higher_is_better": data["higher_is_better"],
        "last_loss": total[-1],
        "test_metrics": data["test_metrics"],
        "seconds": sum(second or 0.0 for second in curves["seconds"]),
        "interrupted": data["interrupted"],
    }


def _deciding_metric(config: Facts) -> Any:
    """Return the validation metric of a model; of a cascade, that of the model it wraps."""
    return config.get("wrapped", config).get("validation_metric")


def _run_folder(weights: Path) -> Path:
    folder = weights if weights.is_dir() else weights.parent
    return folder.parent if folder.name == PRETRAINED else folder


def _resumption(weights: Path) -> list[str]:
    """Return the command that resumes a training that was stopped."""
    history, folder = _history(weights), _run_folder(weights)
    if history is None or not history["interrupted"]:
        return []
    if (folder / GROW_FILE).is_file():
        image = read_json(folder / GROW_FILE).get("image", "IMAGE")
        return [shlex.join(["ncalab", "grow", str(image), "--output", str(folder), "--resume"])]
    if (folder / TRAIN_FILE).is_file():
        settings = str(folder / TRAIN_FILE)
        return [shlex.join(["ncalab", "train", settings, "--output", str(folder), "--resume"])]
    return []


def _suggestions(model: AbstractNCAModel, weights: Path) -> list[str]:
    places = {"task": model.task or "model", "weights": shlex.quote(str(weights))}
    commands = [command.format(**places) for command in spec_of(model).commands]
    return [
        f"{each} --goal {any_goal(model)}" if _takes(each, model) else each for each in commands
    ]


def _takes(command: str, model: AbstractNCAModel) -> bool:
    """Return whether a command needs a goal for a model: programs have an input for it."""
    runs = command.startswith(("ncalab predict ", "ncalab animate ")) or ".html" in command
    return model.goal_size > 0 and runs


def describe_as_json(weights: Path) -> str:
    """Return :func:`collect` as JSON."""
    return json.dumps(collect(weights), indent=2)


def describe(weights: Path) -> str:
    """Return :func:`collect` as text for people."""
    facts = collect(weights)
    side = facts["receptive_field"]
    rows: Facts = {
        "class": facts["class"],
        "task": facts["task"] or "of its own",
        "weights": facts["weights"],
        "parameters": f"{facts['parameters']:,} ({facts['bytes'] / 1024:.1f} KiB)",
        "steps": _steps(facts["steps"]),
        "receptive field": "not known" if side is None else f"{side} x {side} pixels",
    }
    lines = [*_table(rows), *_prepared(facts["preparation"])]
    lines += ["", "configuration", *_table(_flat(facts["configuration"]), "  ")]
    if facts["history"] is not None:
        lines += ["", "training", *_table(_history_rows(facts["history"]), "  ")]
    return "\n".join([*lines, "", "next", *(f"  {command}" for command in facts["next"])])


def _prepared(preparation: Facts | None) -> list[str]:
    """Say how images are prepared; not shortened, as the rows of a table are."""
    said = (
        "not told: images are taken as they are"
        if preparation is None
        else Preparation.from_dict(preparation).describe()
    )
    return [f"{'images':<15}  {said}"]


def _steps(steps: Any) -> str:
    return str(steps) if isinstance(steps, int) else f"{steps[0]} to {steps[1] - 1}"


def _flat(config: Facts, prefix: str = "") -> Facts:
    rows: Facts = {}
    for name, value in config.items():
        if isinstance(value, dict) and value:
            rows |= _flat(value, f"{prefix}{name}.")
        else:
            rows[prefix + name] = value
    return rows


def _history_rows(history: Facts) -> Facts:
    best, epoch = history["best"], history["best_epoch"]
    state = ", stopped by Ctrl-C" if history["interrupted"] else ""
    rows: Facts = {
        "epochs": f"{history['epochs']} in {history['seconds']:.0f} s{state}",
        f"best {history['decided_by']}": (
            "undefined, in every epoch" if best is None else f"{best:.6g} (epoch {epoch})"
        ),
    }
    tests = history["test_metrics"].items()
    return rows | {f"test {name}": shown_value(value) for name, value in tests}


def _table(rows: Facts, indent: str = "") -> list[str]:
    width = max(len(name) for name in rows)
    return [f"{indent}{name:<{width}}  {_short(value)}" for name, value in rows.items()]


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN_LENGTH else f"{text[: _SHOWN_LENGTH - 3]}..."
