"""Splits of files into those to train on and those to validate on, one for each fold."""

import json
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import DataLoader

from ncalab.core import DEFAULT_RANDOM_SEED
from ncalab.core.argument_types import check_types
from ncalab.core.checks import check_int, check_type
from ncalab.core.saving import PathLike, atomic_write
from ncalab.train.fold import TrainValRecord, check_files
from ncalab.train.split_file import read_folds


class SplitDefinition:
    """The folds of a cross-validation.

    Args:
        folds: The folds; add to the attribute of that name later on, if none are given.
        dataloader_test: Loader of test data, measured with the best weights of every fold.

    Raises:
        TypeError: If an argument has another type.

    >>> split = SplitDefinition.kfold(["a", "b", "c", "d"], n_splits=2, seed=0)
    >>> len(split), split[0].train, split[0].val
    (2, ['a', 'b'], ['c', 'd'])
    """

    def __init__(
        self,
        folds: Iterable[TrainValRecord] = (),
        dataloader_test: DataLoader[Any] | None = None,
    ) -> None:
        folds = list(folds) if isinstance(folds, Iterable) else folds
        check_types("folds", folds, TrainValRecord)
        check_type("dataloader_test", dataloader_test, DataLoader, optional=True)
        self.folds = list(folds)
        self.dataloader_test = dataloader_test

    def __len__(self) -> int:
        return len(self.folds)

    def __getitem__(self, idx: int) -> TrainValRecord:
        return self.folds[idx]

    def __iter__(self) -> Iterator[TrainValRecord]:
        return iter(self.folds)

    @staticmethod
    def read(path: PathLike) -> "SplitDefinition":
        """Read a JSON file like those of nnU-Net.

        It holds a list with one object for each fold, ``{"train": [...], "val": [...]}``, each a
        list of file names. Nothing in it is executed.

        Source: Isensee et al., nnU-Net, Nature Methods 18, 2021, doi:10.1038/s41592-020-01008-z,
        its file ``splits_final.json``.

        Args:
            path: The file.

        Returns:
            The split.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If it is anything else; the error names file, fold and reason.
        """
        folds = []
        for index, fold in enumerate(read_folds(path)):
            try:
                folds.append(TrainValRecord(fold["train"], fold["val"]))
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path}, fold {index}: {error}") from None
        return SplitDefinition(folds)

    def write(self, path: PathLike, *, overwrite: bool = False) -> None:
        """Write a JSON file that :meth:`read` reads, in whole or not at all.

        Args:
            path: File to write.
            overwrite: Whether to replace a file that holds something else.

        Raises:
            FileExistsError: If there is one and it may not be replaced.
            ValueError: If there are no folds.
        """
        if not self.folds:
            raise ValueError("folds must hold at least one fold, got none")
        folds = [{"train": fold.train, "val": fold.val} for fold in self.folds]
        data = (json.dumps(folds, indent=2) + "\n").encode()
        path = Path(path)
        if path.exists() and not overwrite and path.read_bytes() != data:
            raise FileExistsError(
                f"path must not hold another file, got {path}; pass overwrite=True to replace it"
            )
        atomic_write(path, data)

    @classmethod
    def kfold(
        cls, files: Sequence[PathLike], n_splits: int = 5, *, seed: int = DEFAULT_RANDOM_SEED
    ) -> "SplitDefinition":
        """Deal files at random into folds of equal size, give or take one.

        Args:
            files: Names of the files. The split depends on their order: sort a listing of a folder.
            n_splits: Number of folds, from 2 to the number of files.
            seed: Seed of the dealing.

        Returns:
            The split; every file validates in exactly one fold.

        Raises:
            ValueError: If ``n_splits`` is out of its range or a file is listed twice.
        """
        from sklearn.model_selection import KFold

        names = check_files("files", files)
        _check_n_splits(n_splits, len(names), "files")
        folds = KFold(n_splits, shuffle=True, random_state=seed)
        return cls._from_indices(names, folds.split(names))

    @classmethod
    def stratified(
        cls,
        files: Sequence[PathLike],
        labels: Sequence[Hashable],
        n_splits: int = 5,
        *,
        seed: int = DEFAULT_RANDOM_SEED,
    ) -> "SplitDefinition":
        """Deal files into folds that all have about the same share of each label.

        Args:
            files: Names of the files.
            labels: The label of each.
            n_splits: Number of folds, from 2 to the number of files of the rarest label.
            seed: Seed of the dealing.

        Returns:
            The split; every file validates in exactly one fold.

        Raises:
            ValueError: If ``n_splits`` is out of its range, a file is listed twice or the lengths
                differ.
        """
        from sklearn.model_selection import StratifiedKFold

        names = check_files("files", files)
        codes = _codes("labels", labels, len(names))
        _check_n_splits(n_splits, min(Counter(codes).values()), "files of the rarest label")
        folds = StratifiedKFold(n_splits, shuffle=True, random_state=seed)
        return cls._from_indices(names, folds.split(names, codes))

    @classmethod
    def group(
        cls, files: Sequence[PathLike], groups: Sequence[Hashable], n_splits: int = 5
    ) -> "SplitDefinition":
        """Keep files that belong together, such as those of one patient, in one fold.

        Nothing is drawn at random: the largest group goes to the smallest fold, and so on.

        Args:
            files: Names of the files.
            groups: What each belongs to.
            n_splits: Number of folds, from 2 to the number of groups.

        Returns:
            The split; every file validates in exactly one fold, along with its whole group.

        Raises:
            ValueError: If ``n_splits`` is out of its range, a file is listed twice or the lengths
                differ.
        """
        from sklearn.model_selection import GroupKFold

        names = check_files("files", files)
        codes = _codes("groups", groups, len(names))
        _check_n_splits(n_splits, len(set(codes)), "groups")
        return cls._from_indices(names, GroupKFold(n_splits).split(names, groups=codes))

    @classmethod
    def _from_indices(
        cls, names: list[str], indices: Iterable[tuple[Any, Any]]
    ) -> "SplitDefinition":
        return cls(
            TrainValRecord([names[i] for i in train], [names[i] for i in val])
            for train, val in indices
        )


def _check_n_splits(n_splits: int, most: int, what: str) -> None:
    if check_int("n_splits", n_splits, minimum=2) > most:
        raise ValueError(f"n_splits must be at most {most}, the number of {what}, got {n_splits}")


def _codes(name: str, values: Sequence[Hashable], count: int) -> list[int]:
    """Number labels in the order in which they appear, whatever their type."""
    if len(values) != count:
        raise ValueError(f"{name} must be as many as files ({count}), got {len(values)}")
    numbers: dict[Hashable, int] = {}
    return [numbers.setdefault(value, len(numbers)) for value in values]
