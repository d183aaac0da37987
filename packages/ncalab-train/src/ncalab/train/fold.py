"""One fold: the files that train and those that validate, and their loaders."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader, Dataset

from ncalab.core.checks import check_int
from ncalab.core.saving import PathLike

_DEFAULT_BATCH_SIZE = 8
_SETS = ("train", "val")

Transform = Callable[..., Any]
Transforms = Transform | Mapping[str, Transform | None] | tuple[Transform | None, Transform | None]


class TrainValRecord:
    """The files of one fold.

    Args:
        train: Files to train on, at least one.
        val: Files to validate on, at least one, none of them in ``train``.

    Raises:
        TypeError: If one is not a list of file names.
        ValueError: If one is empty, or a file is listed twice.

    >>> TrainValRecord(train=["a.png", "b.png"], val=["c.png"]).val
    ['c.png']
    """

    def __init__(self, train: list[str], val: list[str]) -> None:
        self.train = check_files("train", train)
        self.val = check_files("val", val)
        if both := sorted(set(self.train) & set(self.val)):
            raise ValueError(f"train and val must have no file in common, got {_some(both)}")

    def __repr__(self) -> str:
        return f"TrainValRecord({len(self.train)} train, {len(self.val)} val)"

    def dataloaders(
        self,
        DatasetType: Callable[..., Dataset[Any]],  # noqa: N803 - the documented name
        path: PathLike,
        transform: Transforms | None = None,
        batch_sizes: Mapping[str, int] | None = None,
        *,
        num_workers: int = 0,
    ) -> tuple[DataLoader[Any], DataLoader[Any]]:
        """Make the loaders of the fold.

        Training data are shuffled, validation data come in the order of ``val``. No sample is
        left out, the last batch may be smaller.

        Args:
            DatasetType: Called as ``DatasetType(path, files, transform)``, once for each set.
            path: Folder of the files.
            transform: Transform of the training data; validation data then have none. Or one for
                each: a mapping with the keys "train" and "val", or a pair (train, val).
            batch_sizes: Batch sizes under "train" and "val", 8 where left out.
            num_workers: Number of processes that load the data, for each loader.

        Returns:
            Loader of the training data, loader of the validation data.

        Raises:
            TypeError: If ``transform`` is none of these.
            ValueError: If a key is neither "train" nor "val", or a batch size is below 1.
        """
        transforms = split_transforms(transform)
        sizes = check_batch_sizes(batch_sizes)
        folder = Path(path)
        datasets = {
            name: DatasetType(folder, list(getattr(self, name)), transforms[name]) for name in _SETS
        }
        train, val = (
            DataLoader(
                datasets[name], sizes[name], shuffle=name == "train", num_workers=num_workers
            )
            for name in _SETS
        )
        return train, val


def split_transforms(transform: Transforms | None) -> dict[str, Transform | None]:
    """Return the transform of each set.

    >>> split_transforms(None)
    {'train': None, 'val': None}
    """
    # First: a composition of transforms may be callable and a sequence as well.
    if transform is None or callable(transform):
        return {"train": transform, "val": None}
    if isinstance(transform, Mapping):
        _check_sets("transform", transform)
        chosen: dict[str, Any] = {name: transform.get(name) for name in _SETS}
    elif isinstance(transform, tuple | list) and len(transform) == len(_SETS):
        chosen = dict(zip(_SETS, transform, strict=True))
    else:
        raise TypeError(
            'transform must be callable, a mapping of "train" and "val", or a pair (train, val), '
            f"got {transform!r}"
        )
    for name, value in chosen.items():
        if value is not None and not callable(value):
            raise TypeError(f"transform of {name} must be callable, got {value!r}")
    return chosen


def check_batch_sizes(batch_sizes: Mapping[str, int] | None) -> dict[str, int]:
    """Return the batch size of each set.

    >>> check_batch_sizes({"train": 4})
    {'train': 4, 'val': 8}
    """
    given = batch_sizes or {}
    if not isinstance(given, Mapping):
        raise TypeError(f'batch_sizes must be a mapping of "train" and "val", got {given!r}')
    _check_sets("batch_sizes", given)
    return {
        name: check_int(f'batch_sizes["{name}"]', given.get(name, _DEFAULT_BATCH_SIZE), minimum=1)
        for name in _SETS
    }


def _check_sets(name: str, given: Mapping[str, Any]) -> None:
    if unknown := [key for key in given if key not in _SETS]:
        raise ValueError(f'{name} must have no keys but "train" and "val", got {_some(unknown)}')


def check_files(name: str, files: Any) -> list[str]:
    """Return file names as strings; raise unless there are some, each once."""
    if isinstance(files, str | bytes) or not isinstance(files, Sequence):
        raise TypeError(f"{name} must be a list of file names, got {files!r:.80}")
    if not files:
        raise ValueError(f"{name} must hold at least one file, got none")
    for file in files:
        if not isinstance(file, str | os.PathLike) or not os.fspath(file):
            raise TypeError(f"{name} must hold file names only, got {file!r:.80}")
    names = [str(os.fspath(file)) for file in files]
    if repeated := [file for file, count in Counter(names).items() if count > 1]:
        raise ValueError(f"{name} must list each file once, got {_some(repeated)} more than once")
    return names


def _some(items: Sequence[Any]) -> str:
    """List a few items; an error must stay readable."""
    shown = ", ".join(map(repr, items[:3]))
    return shown if len(items) <= 3 else f"{shown} and {len(items) - 3} more"
