"""The description of a task."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ncalab.core.model import AbstractNCAModel
from ncalab.core.task.data import DataSource
from ncalab.core.task.results import PredictionWriter

CellReading = Literal["classes", "votes", "values"]
"""The value that is read out of each cell: its class, with class 0 as background; the class that a
living cell takes the whole image to be; or a number, as ``interpret`` returns it."""


@dataclass(frozen=True)
class TaskSpec:
    """A task, described once for the command line, pictures, pages and model cards.

    A package registers it under the entry point group ``ncalab.tasks``, by the task's name. If a
    file ``template.toml`` lies beside the module of the description, ``ncalab train
    --print-config`` prints it; it is read without importing the package.

    Attributes:
        name: Name of the task: ``task`` of its models.
        model: Class of its models.
        data: Data that a settings file of ``ncalab train`` can name.
        without: Arguments of the model that such a file cannot give.
        writer: Writes predictions to files; None if ``ncalab predict`` cannot.
        reading: How one value is read out of each cell of a model without a head; None: the
            output channels are taken for classes, but no page tints its cells by them.
        premultiplied: Whether the colours of RGBA images are multiplied by their opacity.
        commands: Commands that ``ncalab info`` suggests, with places for ``{weights}`` and
            ``{task}``.
        purpose: What cells that look at an image do together, as a web page says it.
        pipeline: Name of the task on the Hugging Face Hub.
        recipe: Options of :class:`ncalab.train.Recipe` to train its models with, as plain values;
            what is left out has the default of that class.
        advice: Which model suits some data, :class:`ncalab.tasks.recommend.Advice`; None if
            nothing is recommended.
    """

    name: str
    model: type[AbstractNCAModel]
    data: tuple[DataSource, ...] = ()
    without: tuple[str, ...] = ()
    writer: type[PredictionWriter] | None = None
    reading: CellReading | None = None
    premultiplied: bool = False
    commands: tuple[str, ...] = (
        "ncalab predict {weights} IMAGE",
        "ncalab animate {weights} IMAGE --output {task}.gif",
    )
    purpose: str = "look at an image"
    pipeline: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    advice: Any = None
