"""What some data are like: size, channels, and what their labels hold."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ncalab.core.checks import check_int
from ncalab.tasks.class_counts import count_classes
from ncalab.tasks.samples import Samples, first_samples, labels_in_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class DataSummary:
    """What some data are like.

    Attributes:
        size: Width and height of the images, of the smallest one if they differ.
        channels: Number of image channels.
        shares: Share of the cells (or, of a classification, of the images) of each class, from
            class 0; empty where labels are not classes.
        samples: Number of samples.
        counted: Number of samples whose labels gave the shares, or the largest label; None for
            all of them.
        num_classes: Number of classes, if it was given or the data set has it; None otherwise.
        largest: Largest finite label, where labels are not classes; None if no label is finite.
    """

    size: tuple[int, ...]
    channels: int
    shares: tuple[float, ...]
    samples: int
    counted: int | None = None
    num_classes: int | None = None
    largest: float | None = None


def summarize(
    data: Dataset[Any] | tuple[Tensor, Tensor],
    *,
    has_classes: bool,
    num_classes: int | None = None,
    ignore_index: int | None = None,
    spatial_dims: int = 2,
) -> DataSummary:
    """Look at up to 64 samples of some data, and at all labels that are in memory.

    Args:
        data: Data set of pairs (image ``(C, W, H)``, label), or images ``(N, C, W, H)`` and
            labels, N of them. The labels of a data set are in memory if it has them, one for
            each sample, as ``strata`` or ``labels``, or is a TensorDataset.
        has_classes: Whether labels are classes.
        num_classes: Number of classes, if it is known; None for that of the data set, or to
            count them.
        ignore_index: A label that does not count.
        spatial_dims: Number of spatial axes of the images.

    Raises:
        TypeError: If the data are something else.
        ValueError: If there are none, their shapes do not go together, or labels that should be
            class numbers cannot be.

    >>> summarize((torch.rand(2, 1, 8, 6), torch.full((2, 8, 6), 4.5)), has_classes=False).largest
    4.5
    """
    samples = first_samples(data, check_int("spatial_dims", spatial_dims, minimum=1))
    images = [image for image, _ in samples.pairs]
    size = tuple(min(each) for each in zip(*(image.shape[1:] for image in images), strict=True))
    whole = labels_in_memory(data, samples)
    labels = [torch.as_tensor(label) for _, label in samples.pairs] if whole is None else [whole]
    is_whole = whole is not None or len(samples.pairs) == samples.count
    summary = DataSummary(
        size,
        int(images[0].shape[0]),
        (),
        samples.count,
        counted=None if is_whole else len(samples.pairs),
    )
    if not has_classes:
        return replace(summary, largest=_largest(labels))
    known = _known_of("num_classes", num_classes, data)
    ignored = _known_of("ignore_index", ignore_index, data)
    shares = _shares(_name(samples), labels, num_classes=known, ignore_index=ignored)
    return replace(summary, shares=shares, num_classes=known)


def _name(samples: Samples) -> str:
    return "labels" if torch.as_tensor(samples.pairs[0][1]).numel() == 1 else "masks"


def _shares(
    name: str, labels: Iterable[Tensor], *, num_classes: int | None, ignore_index: int | None
) -> tuple[float, ...]:
    """Return the share of each class; warn if there is but one."""
    counts = count_classes(name, labels, num_classes=num_classes, ignore_index=ignore_index)
    if sum(count > 0 for count in counts) == 1:
        logger.warning("there is nothing to learn: all %s that were read are of one class", name)
    return tuple(count / max(1, sum(counts)) for count in counts)


def _largest(labels: Iterable[Tensor]) -> float | None:
    """Return the largest finite value; None if there is none."""
    finite = [label[label.isfinite()] for label in labels]
    return max((float(values.max()) for values in finite if values.numel()), default=None)


def _known_of(name: str, given: int | None, data: Any) -> int | None:
    """Return a number that was given, or that of the data set, such as its number of classes."""
    if given is not None:
        return check_int(name, given, minimum=1 if name == "num_classes" else -(2**63))
    known = getattr(data, name, None)
    return known if isinstance(known, int) else None
