"""The depth task for the command line, pictures, pages and model cards."""

import logging
from typing import Any

from ncalab.core.task import DataParts, DataRequest, DataSource, TaskSpec
from ncalab.tasks.data_summary import DataSummary
from ncalab.tasks.depth.data import DepthDataset
from ncalab.tasks.depth.model import DepthNCAModel
from ncalab.tasks.depth.writer import DepthWriter
from ncalab.tasks.file_pairs import check_sizes
from ncalab.tasks.recommend import Advice

logger = logging.getLogger(__name__)


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


def choose_arguments(summary: DataSummary) -> tuple[dict[str, Any], list[str]]:
    """Choose arguments of the model for some data; return the reasons, too."""
    if summary.largest is None or summary.largest <= 0:
        logger.warning(
            "there is nothing to learn: no depth that was read is known (finite and above 0)"
        )
        return {}, []
    scale = float(f"{summary.largest:.2g}")
    which = "all samples" if summary.counted is None else f"{summary.counted} samples"
    reason = f"depth_scale = {scale:g}: the largest depth of {which}"
    return {"depth_scale": scale}, [reason]


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
    advice=Advice(12, choose_arguments, has_classes=False),
)
