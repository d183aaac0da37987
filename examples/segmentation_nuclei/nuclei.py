"""The picture of nuclei, its parts, and crops of them."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from ncalab.tasks.images import read_image, read_labels

HERE = Path(__file__).parent
Pair = tuple[Tensor, Tensor]
# Rows of the left half that the weights are learned from; the other rows choose among them.
TRAIN_ROWS = 384
SURROUNDINGS = 15  # standard deviation of what a pixel is compared with, in pixels
BORDER = 3  # width of a nucleus's border in pixels


def read_nuclei() -> tuple[Tensor, Tensor]:
    """Read the picture of 125 labelled nuclei that comes with the package stardist.

    Returns:
        Counts of fluorescence, shape ``(512, 512)``, float32, and the number of each pixel's
        nucleus, 0 for none, ``(512, 512)``, int64.
    """
    package = find_spec("stardist")
    if package is None or not package.submodule_search_locations:
        raise SystemExit(
            "the picture is part of the package stardist, of which nothing else is needed: "
            f"python -m pip install --no-deps -r {HERE / 'data.txt'}"
        )
    folder = Path(package.submodule_search_locations[0]) / "data" / "images"
    raw = torch.from_numpy(read_image(folder / "img2d.tif")[..., 0].astype(np.float32))
    return raw, torch.from_numpy(read_labels(folder / "mask2d.tif")[0].astype(np.int64))


def whole_nuclei(classes: int) -> Pair:
    """Return the picture as one, also what was trained on: ``(2, 512, 512)``, and its labels.

    Args:
        classes: As in :func:`load_nuclei`.
    """
    raw, numbers = read_nuclei()
    return to_channels(raw), instance_classes(numbers, classes)


def load_nuclei(classes: int) -> tuple[Pair, Pair, Pair]:
    """Read the picture, and split it.

    Args:
        classes: 1 for nuclei and background, 3 for background, interior and border.

    Returns:
        Upper three quarters of the left half (to train), its lower quarter (to validate) and the
        right half (to test): each an image ``(2, W, H)``, float32, and labels ``(W, H)``, int64.
    """
    raw, numbers = read_nuclei()
    middle = raw.shape[1] // 2
    left, right = (slice(0, middle), slice(middle, None))
    places = [(slice(0, TRAIN_ROWS), left), (slice(TRAIN_ROWS, None), left), (slice(None), right)]
    # Each part on its own: nothing of one is seen from another.
    train, val, test = (
        (to_channels(raw[place]), instance_classes(numbers[place], classes)) for place in places
    )
    return train, val, test


def to_channels(raw: Tensor) -> Tensor:
    """Return contrast and brightness of fluorescence, both on the scale of a square root.

    The noise of a square root is the same for bright and dim nuclei; and only against what
    surrounds them are dim nuclei brighter than the glow around bright ones.

    Args:
        raw: Counts, shape ``(W, H)``.

    Returns:
        Image, shape ``(2, W, H)``, mostly in [0, 1].
    """
    bright = raw.sqrt()
    surrounding = F.pad(bright[None, None], [3 * SURROUNDINGS] * 4, mode="reflect")
    distance = torch.arange(-3 * SURROUNDINGS, 3 * SURROUNDINGS + 1)
    weights = torch.exp(-((distance / SURROUNDINGS) ** 2) / 2)
    for kernel in (weights[None, None, :, None], weights[None, None, None, :]):
        surrounding = F.conv2d(surrounding, kernel / weights.sum())
    return torch.stack([(bright - surrounding[0, 0]) / 4, bright / 15])


def instance_classes(instances: Tensor, classes: int) -> Tensor:
    """Turn numbered nuclei into classes.

    Args:
        instances: Number of each pixel's nucleus, 0 for none, shape ``(W, H)``.
        classes: 1 or 3.

    Returns:
        Labels ``(W, H)``, int64: 0 background, 1 nucleus; with 3 classes, 2 for the pixels of a
        nucleus that are within 3 pixels of something else.
    """
    inside = instances > 0
    if classes == 1:
        return inside.long()
    numbers, window = instances.float()[None, None], 2 * BORDER + 1
    largest = F.max_pool2d(numbers, window, 1, BORDER)
    smallest = -F.max_pool2d(-numbers, window, 1, BORDER)
    at_border = (largest != smallest)[0, 0] & inside
    return inside.long() + at_border.long()


class Whole(Dataset[Pair]):
    """One image and its labels."""

    def __init__(self, pair: Pair) -> None:
        self.pair = pair

    def __len__(self) -> int:
        return 1

    def __getitem__(self, idx: int) -> Pair:
        return [self.pair][idx]


class Crops(Dataset[Pair]):
    """Square crops at random places, turned and mirrored.

    Args:
        pair: Image ``(C, W, H)`` and labels ``(W, H)``.
        size: Side of a crop.
        length: Number of crops of an epoch.
    """

    def __init__(self, pair: Pair, size: int, length: int) -> None:
        self.image, self.labels = pair
        self.size, self.length = size, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, idx: int) -> tuple[Tensor, Tensor]:
        if not 0 <= idx < self.length:
            raise IndexError(idx)
        w, h = (int(torch.randint(side - self.size + 1, ())) for side in self.labels.shape)
        image = self.image[:, w : w + self.size, h : h + self.size]
        labels = self.labels[w : w + self.size, h : h + self.size]
        quarters, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
        image, labels = image.rot90(quarters, (1, 2)), labels.rot90(quarters)
        return (image.flip(1), labels.flip(0)) if mirrored else (image, labels)
