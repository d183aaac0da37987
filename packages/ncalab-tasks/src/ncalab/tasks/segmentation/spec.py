"""The segmentation task for the command line, pictures, pages and model cards."""

from typing import Any

from ncalab.core.task import DataParts, DataRequest, DataSource, TaskSpec
from ncalab.tasks.data_summary import DataSummary
from ncalab.tasks.file_pairs import check_sizes
from ncalab.tasks.recommend import Advice
from ncalab.tasks.segmentation.data import SegmentationNCADataset
from ncalab.tasks.segmentation.file_patches import FilePatches
from ncalab.tasks.segmentation.model import SegmentationNCAModel
from ncalab.tasks.segmentation.writer import MaskWriter

_RARE = 0.05


def read_pairs(request: DataRequest) -> DataParts:
    """Read images and masks; the model has the number of classes.

    Raises:
        ValueError: If all pixels are of one class.
    """
    classes: Any = getattr(request.model, "num_classes", 1)
    ignored: Any = getattr(request.model, "ignore_index", None)
    pairs = SegmentationNCADataset(num_classes=classes, ignore_index=ignored, **request.settings)
    if len(pairs.label_values) < 2:
        found = ", ".join(map(str, pairs.label_values)) or "none"
        raise ValueError(f"data must hold masks of at least 2 classes, got class {found} alone")
    return DataParts(pairs)


def choose_arguments(summary: DataSummary) -> tuple[dict[str, Any], list[str]]:
    """Choose arguments of the model for some data; return the reasons, too."""
    classes, reasons = len(summary.shares), []
    rarest = min((share for share in summary.shares if share > 0), default=0.0)
    if rarest < _RARE:
        reasons.append(
            f"Dice loss beside cross-entropy: the rarest class has {rarest:.1%} of the pixels, "
            "which cross-entropy alone would leave out"
        )
    return {"num_classes": 1 if classes <= 2 else classes, "fire_rate": 0.5}, reasons


SPEC = TaskSpec(
    SegmentationNCAModel.task,
    SegmentationNCAModel,
    data=(
        DataSource(
            "SegmentationNCADataset",
            SegmentationNCADataset,
            read_pairs,
            without=("files", "transform", "num_classes", "ignore_index", "progress"),
            paths=("path", "images", "masks"),
            check=check_sizes,
            patches=FilePatches,
        ),
    ),
    writer=MaskWriter,
    reading="classes",
    purpose="find out which of them belong to what is looked for",
    pipeline="image-segmentation",
    recipe={},  # the defaults of ncalab.train.Recipe, which were found on this task
    # What is to be found must be more than a cell wide at the coarsest scale.
    advice=Advice(12, choose_arguments, patches=True),
)
