"""Tasks by their names: those of installed packages, and those of this process."""

import logging
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from ncalab.core.checks import check_type
from ncalab.core.model import AbstractNCAModel
from ncalab.core.task.spec import TaskSpec

GROUP = "ncalab.tasks"
"""Entry point group: name of a task to its :class:`TaskSpec`."""

logger = logging.getLogger(__name__)

_registered: dict[str, TaskSpec] = {}


def register_task(spec: TaskSpec) -> None:
    """Make a task known in this process, in place of one of its name that is installed.

    For notebooks and tests. A package names its description under the entry point group
    ``ncalab.tasks`` instead, so that commands know it, too.

    Args:
        spec: Description of the task.

    Raises:
        TypeError: If it is not a :class:`TaskSpec`.
    """
    check_type("spec", spec, TaskSpec)
    _registered[spec.name] = spec


def find_task(name: str) -> TaskSpec | None:
    """Return the description of a task; None if no package offers a usable one."""
    if name in _registered:
        return _registered[name]
    entry_point = installed_tasks().get(name)
    return None if entry_point is None else _load(entry_point)


def all_tasks() -> dict[str, TaskSpec]:
    """Return every description by the task's name; the packages that offer them are imported."""
    found = {name: find_task(name) for name in (*installed_tasks(), *_registered)}
    return {name: spec for name, spec in found.items() if spec is not None}


def spec_of(model: AbstractNCAModel) -> TaskSpec:
    """Return the description of a model's task; for an unknown task, one with the defaults."""
    return find_task(model.task) or TaskSpec(model.task, type(model))


@cache
def installed_tasks() -> dict[str, EntryPoint]:
    """Return the entry points of tasks by name, the first of each; nothing is imported.

    Looked up once; ``installed_tasks.cache_clear()`` makes it look again.
    """
    found: dict[str, EntryPoint] = {}
    for entry_point in entry_points(group=GROUP):
        kept = found.setdefault(entry_point.name, entry_point)
        if kept.value != entry_point.value:
            logger.warning(
                "two packages offer the task %r; %s is taken, and %s is not",
                *(entry_point.name, kept.value, entry_point.value),
            )
    return found


@cache
def _load(entry_point: EntryPoint) -> TaskSpec | None:
    """Import a description; None, with a warning in the log, if that fails."""
    unusable = f"the task {entry_point.name!r} of {entry_point.value} cannot be used"
    try:
        spec = entry_point.load()
    except Exception as error:  # a broken package must not end the work of the others
        logger.warning("%s: %r", unusable, error)
        return None
    if isinstance(spec, TaskSpec) and spec.name == entry_point.name:
        return spec
    logger.warning("%s: it must be a TaskSpec of that name, got %.80r", unusable, spec)
    return None
