"""The classification task for the command line, pictures, pages and model cards."""

from collections.abc import Sequence
from typing import Any

from torch.utils.data import Dataset

from ncalab.core.task import DataParts, DataRequest, DataSource, TaskSpec
from ncalab.tasks.classification.data import IDXDataset, MedMNISTDataset
from ncalab.tasks.classification.distortion import RandomAffine
from ncalab.tasks.classification.folders import ClassFolders, read_class_folders
from ncalab.tasks.classification.model import ClassificationNCAModel
from ncalab.tasks.classification.writer import ClassWriter
from ncalab.tasks.data_summary import DataSummary
from ncalab.tasks.recommend import Advice

# Of the share that it would have if all classes were equally frequent, the rarest class has less.
_UNEVEN = 1 / 3
# Weights that a reason lists at most.
_LISTED = 12


def read_folders(request: DataRequest) -> DataParts:
    """Read images whose class is the folder that they lie in, and name the model's classes so."""
    images, names = read_class_folders(ClassFolders(**request.settings))
    _name_classes(request.model, names)
    return DataParts(images)


def _name_classes(model: Any, folders: list[str]) -> None:
    """Call the classes like their folders; raise if the model has others, or in another order."""
    if model.num_classes != len(folders):
        raise ValueError(
            f"model.num_classes must be {len(folders)}, one for each folder of the data, "
            f"got {model.num_classes}"
        )
    if model.class_names not in (None, folders):
        raise ValueError(
            f"model.class_names must be the folders in their order, {folders}, "
            f"got {model.class_names}"
        )
    model.class_names = folders


def read_medmnist(request: DataRequest) -> DataParts:
    """Read the three parts of a file of MedMNIST."""
    return DataParts(
        MedMNISTDataset(transform=request.augment, split="train", **request.settings),
        MedMNISTDataset(split="val", **request.settings),
        MedMNISTDataset(split="test", **request.settings),
    )


def read_idx_files(request: DataRequest) -> DataParts:
    """Read the files to train on, which are divided, and those to test on."""
    return DataParts(
        IDXDataset(split="train", **request.settings),
        test=IDXDataset(split="test", **request.settings),
    )


def check_classes(part: Dataset[Any], request: DataRequest) -> None:
    """Raise unless the model has a class for each label.

    Raises:
        ValueError: If a label is too large.
    """
    labels: Any = getattr(part, "labels")  # noqa: B009 - all data sets of this task have them
    classes: Any = getattr(request.model, "num_classes", 0)
    largest = int(labels.max())
    if largest >= classes:
        raise ValueError(
            f"model.num_classes must be at least {largest + 1} for these labels, got {classes}"
        )


def choose_arguments(summary: DataSummary) -> tuple[dict[str, Any], list[str]]:
    """Choose arguments of the model for some data; return the reasons, too."""
    classes, shares = max(2, len(summary.shares)), [s for s in summary.shares if s > 0]
    arguments: dict[str, Any] = {
        "num_classes": classes,
        "avg_pool_size": min(4, *summary.size),
    }
    if not shares or min(shares) * len(shares) >= _UNEVEN:
        return arguments, []
    rarest = f"the rarest class has {min(shares):.1%} of the images"
    # A few samples do not say how rare a class is.
    if summary.counted is not None:
        return arguments, [f"class_weights may help: {rarest}"]
    weights = _weights(summary.shares)
    listed = ", ".join(f"{weight:.2g}" for weight in weights[:_LISTED])
    listed += ", ..." if classes > _LISTED else ""
    reason = f"class_weights = [{listed}]: {rarest}"
    return {**arguments, "class_weights": weights}, [reason]


def _weights(shares: Sequence[float]) -> list[float]:
    """Return a weight for each class: one over the root of its share, 1 in the mean.

    >>> _weights([0.8, 0.2])
    [0.6667, 1.333]
    """
    # The root: of the 8 x 8 digits with 20 images of each of five classes, a balanced accuracy of
    # 0.909 in place of 0.891 after 5 epochs (10 images: 0.859, 0.793), and alike, within 0.001,
    # after 10 and 20; means of six seeds.
    # Of a class that is not there, nothing is known but that it is rare.
    rarest = min(share for share in shares if share > 0)
    raw = [max(share, rarest) ** -0.5 for share in shares]
    mean = sum(raw) / len(raw)
    return [float(f"{weight / mean:.4g}") for weight in raw]


_LABELLED: dict[str, Any] = {"check": check_classes, "distortion": RandomAffine}

SPEC = TaskSpec(
    ClassificationNCAModel.task,
    ClassificationNCAModel,
    data=(
        DataSource("ClassificationDataset", ClassFolders, read_folders, **_LABELLED),
        DataSource("MedMNISTDataset", MedMNISTDataset, read_medmnist, divided=False, **_LABELLED),
        DataSource("IDXDataset", IDXDataset, read_idx_files, **_LABELLED),
    ),
    writer=ClassWriter,
    reading="votes",
    purpose="find out which class their image belongs to",
    pipeline="image-classification",
    # At an lr of 0.05, digits stay below 0.62 in a time in which they reach 0.92 at 0.02.
    recipe={"lr": 0.02, "adam_lr": 0.008, "ema_decay": 0.99},
    # What is to be named needs the whole picture in few steps.
    advice=Advice(6, choose_arguments),
)
