"""Tasks by name: a package describes its task once, and commands, pictures and pages use that.

- :class:`TaskSpec`: the description; an entry point of the group ``ncalab.tasks`` names it
- :class:`DataSource`: data that a settings file can name, and how they are read
- :class:`PredictionWriter`: how a prediction is written to files
- :func:`find_task`, :func:`all_tasks`: the descriptions of installed packages
"""

from ncalab.core.task.data import DataParts, DataRequest, DataSource, Transform
from ncalab.core.task.registry import GROUP, all_tasks, find_task, register_task, spec_of
from ncalab.core.task.results import PredictionWriter, ResultFiles, ValueFormat
from ncalab.core.task.spec import CellReading, TaskSpec

__all__ = [
    "GROUP",
    "CellReading",
    "DataParts",
    "DataRequest",
    "DataSource",
    "PredictionWriter",
    "ResultFiles",
    "TaskSpec",
    "Transform",
    "ValueFormat",
    "all_tasks",
    "find_task",
    "register_task",
    "spec_of",
]
