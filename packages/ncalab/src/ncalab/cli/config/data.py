"""From the data section to data sets: to train, to validate, to test."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, Subset

from ncalab.cli.config.class_folders import read_class_folders
from ncalab.cli.config.sections import Changes, Checked, ClassFolders, Loader, Picture, Split
from ncalab.cli.config.transforms import Mirrored, transform_of
from ncalab.cli.jobs.pictures import load_target
from ncalab.core import AbstractNCAModel
from ncalab.tasks import (
    ClassificationDataset,
    DepthDataset,
    GrowingNCADataset,
    IDXDataset,
    MedMNISTDataset,
    SegmentationNCADataset,
)
from ncalab.tasks.classification.data import stratified_choice
from ncalab.tasks.images import FileNames, image_size
from ncalab.tasks.images.folders import last_part
from ncalab.train import SplitDefinition

# Data sets of pairs of files.
_Pairs = SegmentationNCADataset | DepthDataset
Optional = DataLoader[Any] | None
_NO_SPLIT = ("GrowingNCADataset", "MedMNISTDataset")


@dataclass(frozen=True)
class Parts:
    """What to train, validate and test on."""

    train: Dataset[Any]
    val: Dataset[Any] | None = None
    test: Dataset[Any] | None = None

    def shortened(self, samples: int) -> "Parts":
        """Return the first few samples of each part."""

        def first(part: Dataset[Any] | None) -> Dataset[Any] | None:
            if part is None:
                return None
            return Subset(part, range(min(samples, _length(part))))

        train = first(self.train)
        return Parts(self.train if train is None else train, first(self.val), first(self.test))

    def loaders(self, loader: Loader) -> tuple[DataLoader[Any], Optional, Optional]:
        """Return what yields the batches of each part; only those to train on are shuffled."""

        def plain(part: Dataset[Any] | None) -> Optional:
            return None if part is None else DataLoader(part, **common)

        common: dict[str, Any] = {
            "batch_size": loader.batch_size,
            "num_workers": loader.num_workers,
            "pin_memory": loader.pin_memory,
            "persistent_workers": loader.persistent_workers,
        }
        train = DataLoader(self.train, shuffle=loader.shuffle, drop_last=loader.drop_last, **common)
        return train, plain(self.val), plain(self.test)


def _length(part: Any) -> int:
    return len(part)


def read_parts(checked: Checked, model: AbstractNCAModel) -> Parts:
    """Read the data, and divide them.

    Args:
        checked: The settings.
        model: The model, which says how many classes and channels there are.

    Raises:
        FileNotFoundError: If a file or folder is missing.
        ValueError: If one is broken, the data do not fit the model, or cannot be divided so.
    """
    kind, data = checked.data_kind, checked.data
    if checked.split is not None and kind in _NO_SPLIT:
        raise ValueError(
            f"split must be left out for data.class {kind}, which has parts of its own"
        )
    if kind == "GrowingNCADataset":
        picture = Picture(**data)
        image = load_target(
            Path(picture.image),
            picture.size,
            picture.padding,
            page=picture.page,
            max_pixels=picture.max_pixels,
        )
        parts = Parts(GrowingNCADataset(image, model.num_channels, checked.loader.batch_size))
    elif kind == "MedMNISTDataset":
        parts = _medmnist(data, checked.changes)
    else:
        whole = _whole(kind, data, model)
        parts = _divided(whole, checked.split or Split(), checked.changes)
        if isinstance(whole, IDXDataset):
            parts = _with_idx_test(parts, data, checked)
    _check_fit(parts, checked, model)
    return parts


def _medmnist(data: dict[str, Any], changes: Changes) -> Parts:
    train, val, test = (
        MedMNISTDataset(transform=transform_of(changes, flip=split == "train"), split=split, **data)
        for split in ("train", "val", "test")
    )
    return Parts(train, val, test)


def _with_idx_test(parts: Parts, data: dict[str, Any], checked: Checked) -> Parts:
    """Test on the files that the data set has for that."""
    if parts.test is not None:
        raise ValueError("split.test must be 0 for IDXDataset, which has test files of its own")
    plain = transform_of(checked.changes, flip=False)
    return Parts(parts.train, parts.val, IDXDataset(transform=plain, split="test", **data))


def _whole(
    kind: str, data: dict[str, Any], model: AbstractNCAModel
) -> _Pairs | ClassificationDataset:
    """Read all data, to be divided."""
    if kind == "SegmentationNCADataset":
        classes: Any = getattr(model, "num_classes", 1)
        ignored: Any = getattr(model, "ignore_index", None)
        return SegmentationNCADataset(num_classes=classes, ignore_index=ignored, **data)
    if kind == "DepthDataset":
        return DepthDataset(num_image_channels=model.num_image_channels, **data)
    if kind == "IDXDataset":
        return IDXDataset(split="train", **data)
    folders, names = read_class_folders(ClassFolders(**data))
    _name_classes(model, names)
    return folders


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


def _divided(whole: _Pairs | ClassificationDataset, split: Split, changes: Changes) -> Parts:
    """Divide a data set into parts, each with a transform of its own."""
    places = _from_file(whole, split) if split.file else _by_shares(whole, split)
    to_train, plain = transform_of(changes, flip=True), transform_of(changes, flip=False)
    train, val, test = places
    if not len(train):
        raise ValueError(f"split must leave something to train on, got none of {len(whole)}")
    return Parts(
        _part(whole, train, to_train),
        _part(whole, val, plain) if len(val) else None,
        _part(whole, test, plain) if len(test) else None,
    )


Places = tuple[np.ndarray, np.ndarray, np.ndarray]


def _by_shares(whole: _Pairs | ClassificationDataset, split: Split) -> Places:
    """Draw the parts at random; of labelled images, each class by its share."""
    rest, parts = np.arange(len(whole)), []
    for share in (split.test, split.validation):
        # At least one, where there is to be something.
        count = max(1, round(share * len(whole))) if share else 0
        if isinstance(whole, ClassificationDataset):
            chosen = stratified_choice(whole.labels[rest], min(count, len(rest)), seed=split.seed)
        else:
            chosen = np.random.default_rng(split.seed).permutation(len(rest))[:count]
        parts.append(np.sort(rest[chosen]))
        rest = np.setdiff1d(rest, parts[-1])
    test, val = parts
    return rest, val, test


def _from_file(whole: _Pairs | ClassificationDataset, split: Split) -> Places:
    folds = SplitDefinition.read(str(split.file))
    if not 0 <= split.fold < len(folds):
        raise ValueError(f"split.fold must be in [0, {len(folds)}), got {split.fold}")
    fold = folds[split.fold]
    train, val = _indices(whole, fold.train), _indices(whole, fold.val)
    # One file may have several names there, such as those with and without suffix.
    if len(both := np.intersect1d(train, val)):
        raise ValueError(
            "split.file must name each sample to train on or to validate on, got both for sample "
            f"{both[0]} of {len(whole)}"
        )
    return train, val, np.array([], int)


def _indices(whole: _Pairs | ClassificationDataset, names: Sequence[Any]) -> np.ndarray:
    """Return the places of samples by their names, with or without suffix, or numbers."""
    if isinstance(whole, ClassificationDataset):
        known = {str(place): place for place in range(len(whole))}
        found = [known.get(last_part(name)) for name in names]
    else:
        files = [image for image, _ in whole.pairs]
        places = {file: place for place, file in enumerate(files)}
        index = FileNames(files)
        found = [places[each[0]] if (each := index.find(name)) else None for name in names]
    missing = [name for name, place in zip(names, found, strict=True) if place is None]
    if missing:
        raise ValueError(
            f"split.file must name samples of the data, but there is no {missing[0]!r}"
        )
    return np.array(found, dtype=int)


def _part(
    whole: _Pairs | ClassificationDataset, places: np.ndarray, transform: Mirrored | None
) -> Dataset[Any]:
    if isinstance(whole, ClassificationDataset):
        return whole.subset(places.tolist(), transform)
    # A copy, not a new data set: that would read and check every file again.
    part = copy.copy(whole)
    part.pairs = [whole.pairs[place] for place in places]
    part.transform = transform
    return part


def _check_fit(parts: Parts, checked: Checked, model: AbstractNCAModel) -> None:
    """Raise for data that would end the training at its first batch, or in the middle of it."""
    sample: Any = parts.train
    image = sample[0][0]
    states = checked.data_kind == "GrowingNCADataset"
    wanted = model.num_channels if states else model.num_image_channels
    if image.shape[0] != wanted or (states and model.num_image_channels != 4):
        channels = 4 if states else image.shape[0]
        raise ValueError(
            f"model.num_image_channels must be {channels}, as the data have, "
            f"got {model.num_image_channels}"
        )
    for part in (parts.train, parts.val, parts.test):
        if isinstance(part, ClassificationDataset):
            _check_classes(part, model)
        elif isinstance(part, SegmentationNCADataset | DepthDataset):
            _check_sizes(part, checked)


def _check_classes(part: ClassificationDataset, model: AbstractNCAModel) -> None:
    classes: Any = getattr(model, "num_classes", 0)
    largest = int(part.labels.max())
    if largest >= classes:
        raise ValueError(
            f"model.num_classes must be at least {largest + 1} for these labels, got {classes}"
        )


def _check_sizes(part: _Pairs, checked: Checked) -> None:
    """Raise unless images of one batch have one size."""
    if checked.data.get("resize") is not None or checked.loader.batch_size == 1:
        return
    first: tuple[Path, tuple[int, int]] | None = None
    for file, _ in part.pairs:
        size = image_size(file, page=part.page, max_pixels=part.max_pixels)
        if first is None:
            first = file, size
        elif first[1] != size:
            raise ValueError(
                "data.resize must be given (or loader.batch_size = 1) for images of several "
                f"sizes, got {first[0]} with {first[1]} and {file} with {size}"
            )
