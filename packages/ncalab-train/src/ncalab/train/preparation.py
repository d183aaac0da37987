"""Give a model the preparation of the images that it is trained on."""

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch.utils.data import ConcatDataset, DataLoader, Dataset

from ncalab.core import AbstractNCAModel, Preparation

logger = logging.getLogger(__name__)


def find_preparation(dataset: Dataset[Any]) -> Preparation | None:
    """Return how a data set prepares its images, if it says so, as those of ncalab.tasks do.

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


def take_preparation(
    nca: AbstractNCAModel, loader: DataLoader[Any], *others: DataLoader[Any] | None
) -> None:
    """Let a model know how the images that it is trained on are prepared, so that it is saved.

    Parts of the data that are prepared in different ways are warned of.

    Args:
        nca: Model; it keeps its preparation where the data do not name one.
        loader: Training data.
        *others: Data to validate and to test on; None where there are none.
    """
    found = find_preparation(loader.dataset)
    if found is None:
        if _parts_differ(loader.dataset):
            logger.warning(
                "parts of the training data are prepared in different ways, so that the model "
                "does not know how to prepare later images; set model.preparation"
            )
        return
    _warn_of_others(found, others)
    if found == nca.preparation:
        return
    if nca.preparation is not None:
        logger.info("the model's preparation is now that of the training data: %s", found)
    nca.preparation = found


def _parts_differ(dataset: Dataset[Any]) -> bool:
    """Return whether some parts of a data set name their preparation, but do not agree."""
    if isinstance(dataset, ConcatDataset):
        parts = [find_preparation(part) for part in dataset.datasets]
        return any(parts) or any(map(_parts_differ, dataset.datasets))
    inner = getattr(dataset, "dataset", None)
    return isinstance(inner, Dataset) and _parts_differ(inner)


def _warn_of_others(found: Preparation, others: Iterable[DataLoader[Any] | None]) -> None:
    """Warn of data to evaluate on that are prepared in another way than those to train on."""
    known = (None if loader is None else find_preparation(loader.dataset) for loader in others)
    for other in filter(None, known):
        if _compared(other) != _compared(found):
            logger.warning(
                "data to validate or test on are prepared in another way than the training data, "
                "so that scores are not those of later images: %s; trained on: %s",
                other.describe(),
                found.describe(),
            )


def _compared(preparation: Preparation) -> Preparation:
    """Return a preparation without what may differ: transforms; "auto" may be "percentile"."""
    kind = "auto" if preparation.normalize == "percentile" else preparation.normalize
    return replace(preparation, normalize=kind, transform=None)
