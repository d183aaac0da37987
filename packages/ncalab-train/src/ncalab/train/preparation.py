"""From the data of a training to its model: how images are prepared."""

import logging
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, Dataset

from ncalab.core import AbstractNCAModel, Preparation

logger = logging.getLogger(__name__)


def find_preparation(dataset: Dataset[Any]) -> Preparation | None:
    """Return what a data set does to its images, if it tells: those of ncalab.tasks do.

    Args:
        dataset: Data set with an attribute ``preparation``; or a part of one, or several that
            agree.
    """
    found = getattr(dataset, "preparation", None)
    if isinstance(found, Preparation):
        return found
    if isinstance(dataset, ConcatDataset):
        parts = [find_preparation(part) for part in dataset.datasets]
        return parts[0] if all(part == parts[0] for part in parts) else None
    inner = getattr(dataset, "dataset", None)
    return find_preparation(inner) if isinstance(inner, Dataset) else None


def take_preparation(nca: AbstractNCAModel, loader: DataLoader[Any]) -> None:
    """Let a model know how the images that it is trained on are prepared, so that it is saved.

    Args:
        nca: Model. What it knew before holds where the data do not tell.
        loader: Training data.
    """
    found = find_preparation(loader.dataset)
    if found is None or found == nca.preparation:
        return
    if nca.preparation is not None:
        logger.info("the model's preparation is now that of the training data: %s", found)
    nca.preparation = found
