"""From the data section to data sets: to train, to validate, to test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import click
import numpy as np
from torch.utils.data import DataLoader, Dataset, Subset

from ncalab.cli.config.sections import Checked, Loader, Split
from ncalab.cli.config.transforms import transform_of
from ncalab.core import AbstractNCAModel
from ncalab.core.task import DataParts, DataRequest, Transform
from ncalab.tasks.classification.data import stratified_choice
from ncalab.tasks.recommend import recommended_tasks
from ncalab.train import SplitDefinition

Optional = DataLoader[Any] | None


@dataclass(frozen=True)
class Parts(DataParts):
    """Samples to train, validate and test on."""

    def shortened(self, samples: int) -> "Parts":
        """Return the first few samples of each part."""

        def first(part: Dataset[Any] | None) -> Dataset[Any] | None:
            if part is None:
                return None
            return Subset(part, range(min(samples, _length(part))))

        train = first(self.train)
        return Parts(self.train if train is None else train, first(self.val), first(self.test))

    def distorted(self, checked: Checked) -> "Parts":
        """Return the parts with the samples to train on cut and distorted as the settings say."""
        source, changes, train = checked.data_source, checked.changes, self.train
        if source.patches is not None and changes.patch_size:
            train = source.patches(train, changes.patch_size)
        if source.distortion is not None and changes.distort is not None:
            train = source.distortion(train, **changes.distort)
        return replace(self, train=train)

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
    source = checked.data_source
    if checked.split is not None and not source.divided:
        raise ValueError(
            f"split must be left out for data.class {source.name}, which has parts of its own"
        )
    request = DataRequest(
        checked.data,
        model,
        checked.loader.batch_size,
        transform_of(checked.changes),
        partial(click.echo, err=True),
    )
    read = source.read(request)
    parts = Parts(read.train, read.val, read.test)
    if source.divided:
        parts = _divided(parts, checked.split or Split(), request, source.name)
    _check_fit(parts, checked, request)
    return parts


def _divided(read: Parts, split: Split, request: DataRequest, name: str) -> Parts:
    """Divide what was read to train on into parts, each with a transform of its own."""
    whole = read.train
    places = _from_file(whole, split) if split.file else _by_shares(whole, split)
    train, val, test = places
    if not len(train):
        raise ValueError(f"split must leave something to train on, got none of {_length(whole)}")
    if read.test is not None and len(test):
        raise ValueError(f"split.test must be 0 for {name}, which has test files of its own")
    return Parts(
        _subset(whole, train, request.augment),
        _subset(whole, val, None) if len(val) else None,
        _subset(whole, test, None) if len(test) else read.test,
    )


Places = tuple[np.ndarray, np.ndarray, np.ndarray]


def _by_shares(whole: Dataset[Any], split: Split) -> Places:
    """Draw the parts at random; of labelled images, each class by its share."""
    strata: np.ndarray | None = getattr(whole, "strata", None)
    rest, parts = np.arange(_length(whole)), []
    for share in (split.test, split.validation):
        # At least one, where there is to be something.
        count = max(1, round(share * _length(whole))) if share else 0
        if strata is not None:
            chosen = stratified_choice(strata[rest], min(count, len(rest)), seed=split.seed)
        else:
            chosen = np.random.default_rng(split.seed).permutation(len(rest))[:count]
        parts.append(np.sort(rest[chosen]))
        rest = np.setdiff1d(rest, parts[-1])
    test, val = parts
    return rest, val, test


def _from_file(whole: Dataset[Any], split: Split) -> Places:
    folds = SplitDefinition.read(str(split.file))
    if not 0 <= split.fold < len(folds):
        raise ValueError(f"split.fold must be in [0, {len(folds)}), got {split.fold}")
    fold = folds[split.fold]
    train, val = _indices(whole, fold.train), _indices(whole, fold.val)
    # One file may have several names there, such as those with and without suffix.
    if len(both := np.intersect1d(train, val)):
        raise ValueError(
            "split.file must name each sample to train on or to validate on, got both for sample "
            f"{both[0]} of {_length(whole)}"
        )
    return train, val, np.array([], int)


def _indices(whole: Any, names: Sequence[Any]) -> np.ndarray:
    """Return the places of samples by their names, or by numbers where they have no names."""
    if hasattr(whole, "places_of"):
        found: list[int | None] = whole.places_of(names)
    else:
        known = {str(place): place for place in range(_length(whole))}
        found = [known.get(str(name)) for name in names]
    missing = [name for name, place in zip(names, found, strict=True) if place is None]
    if missing:
        raise ValueError(
            f"split.file must name samples of the data, got {missing[0]!r}, which is none of them"
        )
    return np.array(found, dtype=int)


def _subset(whole: Any, places: np.ndarray, transform: Transform | None) -> Dataset[Any]:
    if hasattr(whole, "subset"):
        part: Dataset[Any] = whole.subset(places.tolist(), transform)
        return part
    if transform is not None:
        raise ValueError(f"data.flip must be false for {type(whole).__name__}, got true")
    return Subset(whole, places.tolist())


def _check_fit(parts: Parts, checked: Checked, request: DataRequest) -> None:
    """Raise for data that would end the training at its first batch, or in the middle of it."""
    source, model = checked.data_source, request.model
    sample: Any = parts.train
    channels = sample[0][0].shape[0]
    recommended = checked.top.recommend and str(model.task) in recommended_tasks()
    is_open = recommended and "num_image_channels" not in checked.model
    if not is_open and channels != (
        model.num_channels if source.states else model.num_image_channels
    ):
        raise ValueError(
            f"model.num_image_channels must be {channels}, as the data have, "
            f"got {model.num_image_channels}"
        )
    for part in (parts.train, parts.val, parts.test):
        if part is not None and source.check is not None:
            source.check(part, request)
