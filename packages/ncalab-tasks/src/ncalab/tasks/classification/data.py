"""Labelled images from arrays, from IDX files and from MedMNIST's .npz files."""

import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ncalab.core import Preparation
from ncalab.core.checks import check_choice
from ncalab.core.intensities import Normalization
from ncalab.core.saving import PathLike
from ncalab.tasks.arguments import INDICES, check_data_arguments
from ncalab.tasks.classification.idx import read_idx
from ncalab.tasks.images import image_to_tensor
from ncalab.tasks.images.folders import last_part
from ncalab.tasks.preparing import (
    for_transform,
    settled,
    transform_name,
    used_range,
    warn_of_range,
)

Transform = Callable[..., Mapping[str, Any]]
"""Called as ``transform(image=array)``, returns ``{"image": array}``: as Albumentations does."""

IDXSplit = Literal["train", "test"]
MedMNISTSplit = Literal["train", "val", "test"]

_IDX_PREFIXES = {"train": "train", "test": "t10k"}


def _check_images(images: Any) -> np.ndarray:
    """Return images with a channel axis, shape ``(N, W, H, C)``."""
    if not isinstance(images, np.ndarray):
        raise TypeError(f"images must be a numpy array, got {type(images).__name__}")
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(f"images must have shape (N, W, H) or (N, W, H, C), got {images.shape}")
    if np.issubdtype(images.dtype, np.floating):
        # Written so that NaN fails it.
        if not (images.min() >= 0 and images.max() <= 1):
            raise ValueError(
                "images must be in [0, 1] if they are floating point, "
                f"got {images.min()} to {images.max()}"
            )
    elif images.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"images must be uint8, uint16 or floating point, got {images.dtype}")
    return np.expand_dims(images, -1) if images.ndim == 3 else images


def _check_labels(labels: Any, count: int) -> np.ndarray:
    """Return labels as int64, shape ``(N,)``."""
    labels = np.array(labels)
    if labels.shape not in ((count,), (count, 1)):
        raise ValueError(
            f"labels must have shape ({count},) or ({count}, 1) for {count} images, "
            f"got {labels.shape}"
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    if labels.min() < 0:
        raise ValueError(f"labels must be at least 0, got {labels.min()}")
    return np.array(labels.reshape(count), dtype=np.int64)


def _check_indices(files: Sequence[int | str], count: int) -> np.ndarray:
    """Return the places that ``files`` names, as numbers or in decimal digits."""
    try:
        indices = np.array([int(name) for name in files], dtype=np.int64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"files must be indices of samples, got {error}") from None
    if len(indices) == 0:
        raise ValueError("files must name at least one sample, got none")
    outside = indices[(indices < 0) | (indices >= count)]
    if len(outside):
        raise ValueError(f"files must be indices in [0, {count}), got {outside[0]}")
    return indices


def _check_transform(transform: Transform | None) -> Transform | None:
    if transform is not None and not callable(transform):
        raise TypeError(f"transform must be callable, got {transform!r:.80}")
    return transform


def _transformed(image: np.ndarray, transform: Transform) -> np.ndarray:
    result = transform(image=image)
    if not isinstance(result, Mapping) or "image" not in result:
        raise TypeError(f'transform must return a mapping with "image", got {result!r:.80}')
    transformed: np.ndarray = result["image"]
    return transformed


class ClassificationDataset(Dataset[tuple[Tensor, Tensor]]):
    """Images and their classes, from arrays.

    The first axis of an image is W, as everywhere in the library: for most files, its rows.

    Args:
        images: Shape ``(N, W, H)`` or ``(N, W, H, C)``; uint8, uint16, or floating point in
            [0, 1].
        labels: Class indices, integers, shape ``(N,)`` or ``(N, 1)``.
        transform: Called with each image, ``transform(image=array (W, H, C))``, and returns
            ``{"image": array (W, H) or (W, H, C)}``. It gets a copy; where the images are
            normalised or resized, of the result, float32.
        normalize: What is done to the values of each image, by its own statistics: "none" (8 and
            16 bits are scaled to [0, 1]), "range", "percentile", "standardize", or "auto"
            (percentiles of images of 16 bits, nothing else otherwise); see
            :func:`ncalab.core.intensities.normalized`.
        resize: W and H that images are brought to; None: they keep their size.

    Raises:
        TypeError: If an array is none, or of another dtype.
        ValueError: If shapes do not go together, or a value is out of range.

    >>> dataset = ClassificationDataset(np.full((5, 4, 6), 51, np.uint8), np.arange(5))
    >>> image, label = dataset[3]
    >>> image.shape, round(image[0, 0, 0].item(), 3), label.item()
    (torch.Size([1, 4, 6]), 0.2, 3)
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        transform: Transform | None = None,
        *,
        normalize: Normalization = "auto",
        resize: tuple[int, int] | None = None,
    ) -> None:
        self.images = _check_images(images)
        self.labels = _check_labels(labels, len(self.images))
        self.transform = _check_transform(transform)
        preparation = Preparation(channels=self.images.shape[3], normalize=normalize, resize=resize)
        used = [used_range(self.images)]
        self._preparation = settled(preparation, used)
        warn_of_range("images", self._preparation, used)

    @property
    def preparation(self) -> Preparation:
        """Preparation of the images; a training puts it into its model."""
        return replace(self._preparation, transform=transform_name(self.transform))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, idx: int) -> tuple[Tensor, Tensor]:
        """Return (image ``(C, W, H)``, float32; label ``()``, int64).

        Raises:
            IndexError: If the index is out of range.
            TypeError: If the transform returns no image.
        """
        if not -len(self) <= idx < len(self):
            raise IndexError(f"idx must be in [0, {len(self)}), got {idx}")
        return self._image(self.images[idx]), torch.tensor(self.labels[idx])

    def _image(self, image: np.ndarray) -> Tensor:
        if self.transform is None:
            return self._preparation.apply(image)
        changed = for_transform(self._preparation, image)
        return image_to_tensor(_transformed(changed.copy(), self.transform))

    def subset(
        self, files: Sequence[int | str], transform: Transform | None = None
    ) -> "ClassificationDataset":
        """Return some of the samples, with a transform of their own.

        Args:
            files: Indices of the samples, as numbers or, as in a file of k-fold splits, text.
            transform: Transform of the subset; that of this data set is not passed on.

        Raises:
            ValueError: If a sample does not exist, or none is named.
        """
        indices = _check_indices(files, len(self))
        # A copy, not a new data set: what has been checked and said need not be again.
        part = copy(self)
        part.images, part.labels = self.images[indices], self.labels[indices]
        part.transform = _check_transform(transform)
        return part

    @property
    def strata(self) -> np.ndarray:
        """Labels whose shares the parts of a divided data set keep, shape ``(N,)``."""
        return self.labels

    def places_of(self, names: Sequence[Any]) -> list[int | None]:
        """Return the places that a file of splits names by numbers; None for one that is not one.

        >>> data = ClassificationDataset(np.zeros((3, 2, 2), np.uint8), np.arange(3))
        >>> data.places_of(["2", "owl"])
        [2, None]
        """
        known = {str(place): place for place in range(len(self))}
        return [known.get(last_part(name)) for name in names]

    def split_off(
        self, count: int, *, seed: int, transform: Transform | None = None
    ) -> "tuple[ClassificationDataset, ClassificationDataset]":
        """Split into two, each class in proportion.

        Args:
            count: Number of samples of the second part, from 1 to N - 1.
            seed: Decides which ones they are.
            transform: Transform of the first part. The second one has none.

        Returns:
            The rest, and ``count`` samples.

        Raises:
            ValueError: If ``count`` is out of range.
        """
        if not 1 <= count < len(self):
            raise ValueError(f"count must be in [1, {len(self)}), got {count}")
        second = stratified_choice(self.labels, count, seed=seed)
        first = np.setdiff1d(np.arange(len(self)), second)
        return self.subset(first.tolist(), transform), self.subset(second.tolist())


def stratified_choice(labels: np.ndarray, count: int, *, seed: int) -> np.ndarray:
    """Choose samples at random, of each class as many as its share asks for.

    Args:
        labels: Class indices, shape ``(N,)``.
        count: Number of samples to choose, at most N.
        seed: Decides which ones they are.

    Returns:
        Indices in ascending order, shape ``(count,)``.

    >>> labels = np.array([0, 1] * 10)
    >>> np.bincount(labels[stratified_choice(labels, 6, seed=0)]).tolist()
    [3, 3]
    """
    shuffled = np.random.default_rng(seed).permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    # Samples of a class lie side by side: evenly spaced places take each class by its share.
    places = ((np.arange(count) + 0.5) * len(labels) / count).astype(np.int64)
    return np.sort(by_class[places])


def find_idx_file(folder: PathLike, split: IDXSplit, kind: Literal["images", "labels"]) -> Path:
    """Find one of the four files of MNIST's layout, under any of their usual names.

    Args:
        folder: Where they are.
        split: "train" or "test".
        kind: "images" or "labels".

    Raises:
        FileNotFoundError: If there is none.
    """
    axes = 3 if kind == "images" else 1
    stem = f"{_IDX_PREFIXES[split]}-{kind}"
    names = [f"{stem}{mark}idx{axes}-ubyte{end}" for end in ("", ".gz") for mark in "-."]
    for name in names:
        if (Path(folder) / name).is_file():
            return Path(folder) / name
    raise FileNotFoundError(f"path must hold one of {', '.join(names)}, got {folder}")


def _check_arguments(path: Any, files: Any, transform: Any) -> None:
    check_data_arguments(path, files, transform, kinds=INDICES)
    if isinstance(files, str):
        raise TypeError(f"files must be a sequence of indices, got {files!r}")


class IDXDataset(ClassificationDataset):
    """MNIST, Fashion-MNIST or another data set in their layout of IDX files.

    Args:
        path: Folder with ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte`` and the same
            with ``t10k``, plain or with ``.gz``.
        files: Indices of the samples to take, as numbers or text (so that a k-fold split can name
            them); None for all.
        transform: As in :class:`ClassificationDataset`.
        split: "train" or "test".
        normalize: As in :class:`ClassificationDataset`.
        resize: As in :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is broken or the two do not go together.
    """

    def __init__(
        self,
        path: PathLike,
        files: Sequence[int | str] | None = None,
        transform: Transform | None = None,
        *,
        split: IDXSplit = "train",
        normalize: Normalization = "auto",
        resize: tuple[int, int] | None = None,
    ) -> None:
        _check_arguments(path, files, transform)
        # Checked before anything is read.
        Preparation(normalize=normalize, resize=resize)
        check_choice("split", split, get_args(IDXSplit))
        images = read_idx(find_idx_file(path, split, "images"))
        labels = read_idx(find_idx_file(path, split, "labels"))
        chosen = _choose(images, labels, files, path)
        super().__init__(*chosen, transform, normalize=normalize, resize=resize)


class MedMNISTDataset(ClassificationDataset):
    """One split of a data set in MedMNIST's layout: one .npz file with all splits.

    Source: Yang et al., MedMNIST v2, Scientific Data 2023, doi:10.1038/s41597-022-01721-8.

    Args:
        path: File with the arrays ``train_images`` (``(N, W, H)`` or ``(N, W, H, 3)``, uint8),
            ``train_labels`` (``(N, 1)``), and the same with ``val`` and ``test``.
        files: Indices of the samples to take, as in :class:`IDXDataset`; None for all.
        transform: As in :class:`ClassificationDataset`.
        split: "train", "val" or "test".
        normalize: As in :class:`ClassificationDataset`.
        resize: As in :class:`ClassificationDataset`.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it is broken, lacks an array, or holds volumes or several labels a sample.
    """

    def __init__(
        self,
        path: PathLike,
        files: Sequence[int | str] | None = None,
        transform: Transform | None = None,
        *,
        split: MedMNISTSplit = "train",
        normalize: Normalization = "auto",
        resize: tuple[int, int] | None = None,
    ) -> None:
        _check_arguments(path, files, transform)
        # Checked before anything is read.
        Preparation(normalize=normalize, resize=resize)
        check_choice("split", split, get_args(MedMNISTSplit))
        images, labels = _read_npz(path, (f"{split}_images", f"{split}_labels"))
        if images.ndim == 4 and images.shape[3] not in (1, 3):
            raise ValueError(
                f"{path} must hold images (N, W, H) or (N, W, H, 1 or 3), got {images.shape}"
            )
        chosen = _choose(images, labels, files, path)
        super().__init__(*chosen, transform, normalize=normalize, resize=resize)


def _choose(
    images: np.ndarray, labels: np.ndarray, files: Sequence[int | str] | None, path: PathLike
) -> tuple[np.ndarray, np.ndarray]:
    if images.ndim == 0 or labels.ndim == 0 or len(images) != len(labels):
        raise ValueError(
            f"{path} must hold as many labels as images, "
            f"got arrays of shape {images.shape} and {labels.shape}"
        )
    if files is None:
        return images, labels
    indices = _check_indices(files, len(labels))
    return images[indices], labels[indices]


def _read_npz(path: PathLike, names: Sequence[str]) -> list[np.ndarray]:
    """Read arrays from an .npz file, never unpickling anything."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"path must be an .npz file, got {path}")
    try:
        with zipfile.ZipFile(path):
            pass
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in names if name not in file.files]
            arrays = [] if missing else [file[name] for name in names]
            there = ", ".join(file.files) or "none"
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is not a whole .npz file of plain arrays: {error}") from error
    if missing:
        raise ValueError(f"{path} must hold {' and '.join(missing)}, got {there}")
    return arrays
