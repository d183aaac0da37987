"""A few samples of some data, and those labels of all samples that need not be read."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Subset, TensorDataset

from ncalab.core.checks import AXIS_NAMES

# As many samples say what the others are like.
_SAMPLES = 64


@dataclass(frozen=True)
class Samples:
    """Some samples of some data.

    Attributes:
        pairs: Images ``(C, *grid)`` and their labels as the data have them, at least one pair.
        places: Their places in the data.
        count: Number of samples of the data.
    """

    pairs: list[tuple[Tensor, Any]]
    places: list[int]
    count: int


def first_samples(data: Any, spatial_dims: int) -> Samples:
    """Return up to 64 samples from all over the data: files may be sorted by class.

    Args:
        data: Data set of pairs (image ``(C, *grid)``, label), or a pair of images
            ``(N, C, *grid)`` and labels, N of them.
        spatial_dims: Number of spatial axes of the images.

    Raises:
        TypeError: If the data are something else.
        ValueError: If there are none, or they are of other shapes.
    """
    if isinstance(data, tuple):
        data = _dataset_of(data, spatial_dims)
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")):
        raise TypeError(
            "data must be a data set of pairs (image, label) or a tuple of images and labels, "
            f"got {type(data).__name__}"
        )
    count = len(data)
    if not count:
        raise ValueError("data must hold at least one sample, got none")
    number = min(count, _SAMPLES)
    # With the last one: of sorted data, its class is the last one, too.
    places = [place * (count - 1) // max(1, number - 1) for place in range(number)]
    pairs = [_check_pair(data[place], spatial_dims) for place in places]
    return Samples(pairs, places, count)


def _dataset_of(data: tuple[Any, ...], spatial_dims: int) -> TensorDataset:
    if len(data) != 2 or not all(isinstance(each, Tensor | np.ndarray) for each in data):
        kinds = ", ".join(type(each).__name__ for each in data)
        raise TypeError(f"data must be a tensor of images and one of labels, got ({kinds})")
    if isinstance(data[1], np.ndarray) and data[1].dtype.kind not in "biuf":
        raise TypeError(
            f"data must hold labels that are numbers, got dtype {data[1].dtype}; "
            "np.unique(labels, return_inverse=True)[1] numbers classes"
        )
    images, labels = (torch.as_tensor(each) for each in data)
    if images.ndim != spatial_dims + 2:
        axes = ", ".join(("N", "C", *AXIS_NAMES[:spatial_dims]))
        hint = "; images[:, None] adds a channel" if images.ndim == spatial_dims + 1 else ""
        raise ValueError(
            f"data must hold images of shape ({axes}), got {tuple(images.shape)}{hint}"
        )
    if labels.ndim == 0 or len(labels) != len(images):
        raise ValueError(
            f"data must hold a label for each of {len(images)} images, "
            f"got labels of shape {tuple(labels.shape)}"
        )
    return TensorDataset(images, labels)


def _check_pair(sample: Any, spatial_dims: int) -> tuple[Tensor, Any]:
    if not isinstance(sample, tuple | list) or len(sample) < 2:
        raise TypeError(
            f"data must hold pairs (image, label), got a sample of type {type(sample).__name__}"
        )
    image = torch.as_tensor(sample[0])
    if image.ndim != spatial_dims + 1 or 0 in image.shape:
        axes = ", ".join(("C", *AXIS_NAMES[:spatial_dims]))
        raise ValueError(
            f"data must hold images of shape ({axes}), none of them 0, got {tuple(image.shape)}"
        )
    return image, sample[1]


def labels_in_memory(data: Any, samples: Samples) -> Tensor | None:
    """Return the labels of all samples if they can be had without reading the samples.

    Args:
        data: As :func:`first_samples` takes them.
        samples: What it returned: the labels must be theirs.

    Returns:
        Labels, N of them, or None.
    """
    labels = _labels_of(data)
    if labels is None or len(labels) != samples.count:
        return None
    for place, (_, label) in zip(samples.places, samples.pairs, strict=True):
        # Attributes of these names may be something else, such as the groups of a split.
        known, read = labels[place].reshape(-1), torch.as_tensor(label).reshape(-1)
        if known.shape != read.shape or not torch.equal(known, read.to(known)):
            return None
    return labels


def _labels_of(data: Any) -> Tensor | None:
    if isinstance(data, tuple):
        return _as_numbers(data[1])
    if isinstance(data, TensorDataset):
        return _as_numbers(data.tensors[1]) if len(data.tensors) > 1 else None
    if isinstance(data, Subset):
        whole = _labels_of(data.dataset)
        return None if whole is None else whole[torch.as_tensor(list(data.indices)).long()]
    for name in ("strata", "labels"):
        labels = _as_numbers(getattr(data, name, None))
        if labels is not None and labels.ndim:
            return labels
    return None


def _as_numbers(labels: Any) -> Tensor | None:
    """Return numbers as a tensor; None if they are something else."""
    if isinstance(labels, Tensor):
        return labels
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "biuf":
        # A copy: torch takes no other byte order, and warns of arrays that are not to be written.
        return torch.from_numpy(labels.astype(labels.dtype.newbyteorder("=")))
    if isinstance(labels, Sequence) and all(isinstance(each, int) for each in labels):
        return torch.tensor(labels)
    return None
