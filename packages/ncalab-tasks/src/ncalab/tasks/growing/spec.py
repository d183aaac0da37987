"""The growing task for the command line, pictures, pages and model cards."""

from ncalab.core.task import DataSource, TaskSpec
from ncalab.tasks.growing.model import GrowingNCAModel
from ncalab.tasks.growing.picture import Picture, read_picture
from ncalab.tasks.growing.preset import RECIPE
from ncalab.tasks.growing.writer import GrownImageWriter

SPEC = TaskSpec(
    GrowingNCAModel.task,
    GrowingNCAModel,
    data=(
        DataSource(
            "GrowingNCADataset",
            Picture,
            read_picture,
            paths=("image",),
            flips=False,
            divided=False,
            states=True,
        ),
    ),
    writer=GrownImageWriter,
    premultiplied=True,
    commands=(
        "ncalab animate {weights} --output {task}.gif",
        "ncalab export {weights} --output {task}.html",
    ),
    pipeline="unconditional-image-generation",
    recipe=RECIPE,
)
