"""The depth task for the command line, pictures, pages and model cards."""

from ncalab.core.task import DataParts, DataRequest, DataSource, TaskSpec
from ncalab.tasks.depth.data import DepthDataset
from ncalab.tasks.depth.model import DepthNCAModel
from ncalab.tasks.depth.writer import DepthWriter
from ncalab.tasks.file_pairs import check_sizes
from ncalab.tasks.recommend import Advice


def read_pairs(request: DataRequest) -> DataParts:
    """Read images and depth maps.

    Raises:
        ValueError: If no depth is known.
    """
    channels = request.model.num_image_channels
    pairs = DepthDataset(num_image_channels=channels, **request.settings)
    if not pairs.knows_depth:
        raise ValueError(
            "data must hold depth maps with depths that are finite and above 0, got none"
        )
    return DataParts(pairs)


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
