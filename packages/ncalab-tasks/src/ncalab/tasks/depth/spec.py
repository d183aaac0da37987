"""The depth task for the command line, pictures, pages and model cards."""

from ncalab.core.task import DataParts, DataRequest, DataSource, TaskSpec
from ncalab.tasks.depth.data import DepthDataset
from ncalab.tasks.depth.model import DepthNCAModel
from ncalab.tasks.depth.writer import DepthWriter
from ncalab.tasks.file_pairs import check_sizes
from ncalab.tasks.recommend import Advice


def read_pairs(request: DataRequest) -> DataParts:
    """Read images and depth maps."""
    channels = request.model.num_image_channels
    return DataParts(DepthDataset(num_image_channels=channels, **request.settings))


SPEC = TaskSpec(
    DepthNCAModel.task,
    DepthNCAModel,
    data=(
        DataSource(
            "DepthDataset",
            DepthDataset,
            read_pairs,
            without=("files", "transform", "num_image_channels"),
            paths=("path", "image_folder", "depth_folder"),
            check=check_sizes,
        ),
    ),
    without=("vignette",),
    writer=DepthWriter,
    reading="values",
    pipeline="depth-estimation",
    recipe={},  # the defaults of ncalab.train.Recipe, found on segmentation, serve depths as well
    # What is to be measured must be more than a cell wide at the coarsest scale.
    advice=Advice(12, has_classes=False),
)
