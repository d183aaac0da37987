"""Installed tasks by name, found without importing them: help must not wait for torch."""

import sys
from collections.abc import Sequence
from functools import cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import click

GROUP = "ncalab.tasks"  # ncalab.core.task.GROUP, whose import takes torch

TEMPLATE = "template.toml"
"""Settings file to start from, beside the module of a task's description."""


@cache
def _installed() -> dict[str, str]:
    """Return the module of each task's description, by the name of the task."""
    from importlib.metadata import entry_points  # a tenth of the time that ncalab --help takes

    found: dict[str, str] = {}
    for entry_point in entry_points(group=GROUP):
        found.setdefault(entry_point.name, entry_point.value.partition(":")[0].strip())
    return found


def task_names() -> tuple[str, ...]:
    """Return the names of all tasks whose package is installed."""
    return tuple(_installed())


def read_template(task: str) -> str:
    """Return the settings file that a task offers to start from.

    Raises:
        FileNotFoundError: If its package has none.
    """
    module = _installed()[task]
    spec = _find_module(module)
    folder = None if spec is None or spec.origin is None else Path(spec.origin).parent
    if folder is None or not (folder / TEMPLATE).is_file():
        raise FileNotFoundError(
            f"--print-config must be a task with a settings file, but {module} has no {TEMPLATE}"
        )
    return (folder / TEMPLATE).read_text(encoding="utf-8")


def _find_module(name: str) -> ModuleSpec | None:
    """Find a module; unlike ``importlib.util.find_spec``, without importing its packages."""
    search: Any = None
    found: ModuleSpec | None = None
    parts = name.split(".")
    for count in range(1, len(parts) + 1):
        package = ".".join(parts[:count])
        if (loaded := sys.modules.get(package)) is not None and loaded.__spec__ is not None:
            found, search = loaded.__spec__, getattr(loaded, "__path__", None)
            continue
        finders = (finder for finder in sys.meta_path if hasattr(finder, "find_spec"))
        specs = (finder.find_spec(package, search) for finder in finders)
        found = next((spec for spec in specs if spec is not None), None)
        if found is None:
            return None
        search = found.submodule_search_locations
    return found


class TaskName(click.Choice[str]):
    """Name of an installed task; they are looked up where they are asked for, not at start-up."""

    def __init__(self) -> None:
        # Not that of the base class, which would look them up.
        self.case_sensitive = True

    @property
    def choices(self) -> Sequence[str]:  # type: ignore[override]  # an attribute of the base class
        """Names of the tasks."""
        return task_names()
