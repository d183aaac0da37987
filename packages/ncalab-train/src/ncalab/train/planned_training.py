"""A planned training, and whether it has finished."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncalab.core.saving import check_writable_folder
from ncalab.train.describe import differences
from ncalab.train.history import HISTORY_NAME
from ncalab.train.json_file import read_json, write_json
from ncalab.train.result import TrainingResult, read_result

PARAMETERS_NAME = "parameters.json"
RESULT_NAME = "result.json"
CHECKPOINTS = "checkpoint*"

NOT_IDENTITY = frozenset({"progress", "accelerator"})
"""Settings of a trainer for where it runs and what it shows, not for what it does."""


@dataclass(frozen=True)
class PlannedTraining:
    """A planned training, one of several.

    Args:
        index: Which one, from 0.
        seed: Seed of everything that it draws.
        folder: Its run folder; None to write nothing.
        identity: What it trains and how, as data for JSON: two plans of the same identity do the
            same.
        arguments: What the function that trains it needs.
    """

    index: int
    seed: int
    folder: Path | None
    identity: dict[str, Any]
    arguments: dict[str, Any]


def open_folders(
    base: Path | None, plans: Sequence[PlannedTraining], *, overwrite: bool = False
) -> tuple[dict[int, TrainingResult], list[PlannedTraining]]:
    """Find the trainings that are not finished.

    Args:
        base: Folder of all folders.
        plans: All trainings.
        overwrite: Whether to train all of them, finished or not.

    Returns:
        Results of the finished ones by index, and the plans of the others. Nothing is changed.

    Raises:
        ValueError: If a folder cannot be written to or holds something else.
    """
    if base is not None:
        check_writable_folder(base, name="model_path")
    if overwrite:
        return {}, list(plans)
    found = {plan.index: _finished(plan) for plan in plans}
    finished = {index: result for index, result in found.items() if result is not None}
    return finished, [plan for plan in plans if plan.index not in finished]


def _finished(plan: PlannedTraining) -> TrainingResult | None:
    """Return the result of a finished training, None of an unfinished one."""
    if plan.folder is None:
        return None
    if not (plan.folder / PARAMETERS_NAME).exists():
        if (plan.folder / HISTORY_NAME).exists():
            raise ValueError(
                f"model_path must not hold another run, got one in {plan.folder}; "
                "choose another folder or pass overwrite=True"
            )
        return None
    found = read_json(plan.folder / PARAMETERS_NAME)
    if changed := differences(found, json.loads(json.dumps(plan.identity))):
        raise ValueError(
            f"model_path must hold the same trainings as before, but in {plan.folder} "
            f"{'; '.join(changed[:5])}; choose another folder or pass overwrite=True"
        )
    path = plan.folder / RESULT_NAME
    return read_result(path) if path.exists() else None


def discard(plans: Sequence[PlannedTraining]) -> None:
    """Make existing folders count as begun and not finished, all before any is trained.

    So a new training that is interrupted is not resumed with results of the one before.
    """
    for plan in plans:
        if plan.folder is not None and plan.folder.exists():
            (plan.folder / RESULT_NAME).unlink(missing_ok=True)
            for checkpoint in plan.folder.glob(CHECKPOINTS):
                checkpoint.unlink()
            begin(plan)


def begin(plan: PlannedTraining) -> bool:
    """Write into its folder what a training is.

    Args:
        plan: The training; without a folder, nothing is written.

    Returns:
        Whether the folder holds an earlier beginning of the same.
    """
    if plan.folder is None:
        return False
    begun = (plan.folder / PARAMETERS_NAME).exists()
    write_json(plan.folder / PARAMETERS_NAME, plan.identity)
    return begun
