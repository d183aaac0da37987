"""Model cards: the page of a model on the Hugging Face Hub, filled from its training."""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncalab.core.__about__ import __version__
from ncalab.core.extras import require
from ncalab.core.run_record import RunRecord, read_run
from ncalab.core.savable import SavableModel
from ncalab.core.saving import PathLike, atomic_write
from ncalab.core.task import find_task

CARD_NAME = "README.md"

# Names of metrics on the Hub.
METRIC_TYPES = {"accuracy_micro": "accuracy", "accuracy_macro": "accuracy", "auroc": "roc_auc"}


def front_matter(
    model: SavableModel,
    *,
    title: str,
    licence: str = "mit",
    data: str | None = None,
    data_id: str | None = None,
    split: str = "test",
    metrics: Mapping[str, float] | None = None,
) -> str:
    """Return the YAML that the Hub reads of a card, between two lines of dashes.

    Args:
        model: Model that the card is about.
        title: Name of the model.
        licence: Identifier of a licence as the Hub has it, for example "mit".
        data: Name of the data set.
        data_id: Its identifier, on the Hub if it is there; made of ``data`` if None.
        split: Part of the data that the metrics were measured on.
        metrics: Value of each metric. They are listed only if ``data`` is known.

    Raises:
        ImportError: If the extra ``hub`` is not installed.
        ValueError: If metrics come without the data that they were measured on.
    """
    hub = require("huggingface_hub", "hub")
    task = str(getattr(model, "task", ""))
    spec = find_task(task)
    pipeline = None if spec is None else spec.pipeline
    if metrics and not data:
        raise ValueError("data must be named where metrics are, got None")
    identifier = data_id or (None if data is None else _slug(data))
    results = [
        hub.EvalResult(
            task_type=pipeline or task or "other",
            dataset_type=identifier,
            dataset_name=data,
            dataset_split=split,
            metric_type=METRIC_TYPES.get(name, name),
            metric_name=name,
            metric_value=value,
        )
        for name, value in (metrics or {}).items()
        if math.isfinite(value)  # the Hub has no word for what is undefined
    ]
    card = hub.ModelCardData(
        license=licence,
        library_name="ncalab",
        pipeline_tag=pipeline,
        tags=["neural-cellular-automata", *([task] if task else [])],
        datasets=None if identifier is None else [identifier],
        model_name=title if results else None,
        eval_results=results or None,
    )
    return f"---\n{card.to_yaml()}\n---\n"


def _slug(text: str) -> str:
    """Return a name as an identifier.

    >>> _slug("Nuclei of stage 1, 2018")
    'nuclei-of-stage-1-2018'
    """
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def model_card(
    model: SavableModel,
    run: PathLike | None = None,
    *,
    data: str | None = None,
    command: str | None = None,
    licence: str = "mit",
    title: str | None = None,
    seed: int | None = None,
    metrics: Mapping[str, float] | None = None,
    split: str | None = None,
    data_id: str | None = None,
    limits: str | None = None,
) -> str:
    """Write the card of a model, from what its training recorded.

    Args:
        model: Model that the card is about.
        run: Run folder of its training: epochs, metrics and settings are taken from there.
        data: Name of the data set that it was trained on.
        command: Command that trains it.
        licence: Identifier of the licence of the weights as the Hub has it.
        title: Name of the model; its class and task if None.
        seed: Seed of the training.
        metrics: Figures to state in place of the run's own.
        split: Part of the data that they were measured on; that of the run if None.
        data_id: Identifier of the data set, on the Hub if it is there; made of ``data`` if None.
        limits: What the model is for, and what it is not.

    Returns:
        Text of a README.md, front matter first. What is not known is left out.

    Raises:
        ImportError: If the extra ``hub`` is not installed.
        FileNotFoundError: If ``run`` is not a run folder.
        ValueError: If a file of the run is broken.
    """
    record = None if run is None else read_run(run)
    found = dict(metrics) if metrics is not None else dict(record.metrics if record else {})
    split = split or (record.split if record else "test")
    name = type(model).__name__
    title = title or (f"{name} of {data}" if data else name)
    front = front_matter(
        model,
        title=title,
        licence=licence,
        data=data,
        data_id=data_id,
        split=split,
        metrics=found if data else None,
    )
    sections = {
        "Data": data,
        "Images": _images(model),
        "Training": _training(record, command, seed),
        "Figures": _figures(found, split, None if metrics is not None else record),
        "Use and limits": limits,
        "Licence": licence,
    }
    texts = [f"## {head}\n\n{text}\n" for head, text in sections.items() if text]
    return "\n".join([front, f"# {title}\n", _summary(model), *texts])


def _summary(model: SavableModel) -> str:
    known = vars(type(model)).get("stands_for", type(model))
    name, module = known.__name__, known.__module__
    if module.startswith("ncalab."):
        module = ".".join(module.split(".")[:2])  # the part, whose names are public
    count = sum(parameter.numel() for parameter in model.parameters())
    return (
        f"A neural cellular automaton: `{name}`, {count:,} parameters, made with ncalab "
        f"{__version__}.\n\n```python\nfrom {module} import {name}\n\n"
        f'model = {name}.from_pretrained("FOLDER")  # where these files are\n```\n'
    )


def _images(model: SavableModel) -> str:
    preparation = model.preparation
    if preparation is None:
        return ""
    return (
        f"Prepared as in training: {preparation.describe()}. "
        "`model.preparation.apply(image)` does it to an array as a file holds it."
    )


def _training(record: RunRecord | None, command: str | None, seed: int | None) -> str:
    parts = []
    if command is not None:
        parts.append(f"```bash\n{command}\n```")
    facts = [] if seed is None else [f"Seed {seed}."]
    if record is not None:
        best = f", the best after {record.best_epoch}" if record.best_epoch else ""
        facts.append(f"{record.epochs} epochs{best}. {record.seconds:.0f} seconds.")
    if facts:
        parts.append(" ".join(facts))
    if record is not None and record.settings:
        rows = [f"| `{key}` | `{json.dumps(value)}` |" for key, value in record.settings.items()]
        parts.append("\n".join(["| setting | value |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def _figures(metrics: Mapping[str, float], split: str, record: RunRecord | None) -> str:
    if not metrics:
        return ""
    chosen = record is not None and record.split == "validation" and record.best_epoch > 0
    note = "\n\nThe epoch was chosen by these data." if chosen else ""
    rows = [f"| `{name}` | {_shown(value)} |" for name, value in metrics.items()]
    return "\n".join([f"| metric ({split}) | value |", "|---|---|", *rows]) + note


def _shown(value: float) -> str:
    return "undefined" if math.isnan(value) else f"{value:.6g}"


def write_card(text: str, folder: PathLike) -> Path:
    """Write a card into a folder that has none.

    Args:
        text: Text of the card, for example :func:`model_card`.
        folder: Folder of :meth:`save_pretrained`.

    Returns:
        Path of the card.

    Raises:
        FileExistsError: If there is a card already; it is left as it is.
    """
    path = Path(folder) / CARD_NAME
    if path.exists():
        raise FileExistsError(f"folder must hold no card yet, got {path}; remove it to replace it")
    atomic_write(path, text.encode())
    return path


def card_fields(text: str) -> dict[str, Any]:
    """Return the front matter of a card as data.

    Raises:
        ImportError: If the extra ``hub`` is not installed.
        ValueError: If it has none.
    """
    fields: dict[str, Any] = require("huggingface_hub", "hub").ModelCard(text).data.to_dict()
    if not fields:
        raise ValueError(f"text must begin with a front matter, got {text[:40]!r}")
    return fields
