"""What is to be trained, one of many, and which of them are done already."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ncalab.core.saving import check_writable_folder
from ncalab.train.describe import differences
from ncalab.train.history import HISTORY_NAME
from ncalab.train.record import Record, read_json, read_record, write_json

PARAMETERS_NAME = "parameters.json"
RESULT_NAME = "result.json"


@dataclass(frozen=True)
class Plan:
    """One training of many.

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
    base: Path | None, plans: Sequence[Plan], *, overwrite: bool = False
) -> tuple[dict[int, Record], list[Plan]]:
    """Find out which trainings are still to be done.

    Args:
        base: Folder of all folders.
        plans: All trainings.
        overwrite: Whether to do all of them, and to replace what is there.

    Returns:
        Records of the finished ones by index, and the plans of the others.

    Raises:
        ValueError: If a folder cannot be written to or holds something else; nothing is changed.
    """
    if base is None:
        return {}, list(plans)
    check_writable_folder(base, name="model_path")
    finished: dict[int, Record] = {}
    for plan in plans:
        if not overwrite and (record := _finished(plan)) is not None:
            finished[plan.index] = record
    todo = [plan for plan in plans if plan.index not in finished]
    for plan in todo:
        if overwrite and plan.folder is not None and plan.folder.exists():
            _forget(plan, plan.folder)
    return finished, todo


def _finished(plan: Plan) -> Record | None:
    """Return the record of a finished training, None of an unfinished one."""
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
    return read_record(path) if path.exists() else None


def _forget(plan: Plan, folder: Path) -> None:
    """Make a folder count as begun and not finished, to be trained from the start."""
    (folder / RESULT_NAME).unlink(missing_ok=True)
    for checkpoint in folder.glob("checkpoint*"):
        checkpoint.unlink()
    write_json(folder / PARAMETERS_NAME, plan.identity)
