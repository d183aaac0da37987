"""Pairs of image and depth, shared by training and evaluation."""

import importlib.util
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ncalab.tasks import DepthDataset
from ncalab.tasks.depth.files import read_image

Pair = tuple[Tensor, Tensor]  # image (4, W, H) in [0, 1], depth (W, H)


class Pairs(Protocol):
    """A list of pairs, or what reads them from a folder."""

    def __len__(self) -> int: ...
    def __getitem__(self, number: int, /) -> Pair: ...


# Columns of the scene, as shares of its width: what is left of TRAINING_END is for training, but
# for the depth of a strip that decides which weights are best.
VALIDATION_START, VALIDATION_END, TRAINING_END = 0.2, 0.3, 0.6
# How often a crop loses its colours.
GREY_SHARE = 0.4
# Of the stereo pair, for the resolution of its file.
FOCAL_LENGTH, BASELINE, DISPARITY_OFFSET = 994.978, 0.193001, 31.086  # pixels, metres, pixels


def resized(image: np.ndarray, mask: np.ndarray, factor: int) -> dict[str, Any]:
    """Shrink an image and its depth by a whole factor; depths are picked, not mixed."""
    height, width = (max(1, length // factor) for length in mask.shape)
    if image.dtype != np.uint8:  # of a file of 16 bits, normalised
        image = np.round(255 * image.clip(0, 1)).astype(np.uint8)
    small = Image.fromarray(image).resize((width, height), Image.Resampling.BOX)
    depth = Image.fromarray(mask).resize((width, height), Image.Resampling.NEAREST)
    return {"image": np.array(small), "mask": np.array(depth)}


def with_row(image: Tensor) -> Tensor:
    """Append how far down each cell is, 0 to 1: what is lower in an image is mostly nearer."""
    _, width, height = image.shape
    row = torch.linspace(0, 1, width)[None, :, None].expand(1, width, height)
    return torch.cat([image, row])


def motorcycle(factor: int) -> Pair:
    """Read the Middlebury motorcycle out of scikit-image, without importing it."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise SystemExit(
            "the scene is a file of scikit-image: install it with "
            "`pip install --no-deps -r examples/depth_motorcycle/data.txt`, or give --data FOLDER"
        )
    folder = Path(package.origin).parent / "data"
    image = read_image(folder / "motorcycle_left.png")
    with np.load(folder / "motorcycle_disp.npz") as file:
        disparity = file["arr_0"]  # infinite where unknown, so that depth is 0 there
    depth = (FOCAL_LENGTH * BASELINE / (disparity + DISPARITY_OFFSET)).astype(np.float32)
    small = resized(image, depth, factor)
    picture = torch.from_numpy(small["image"]).permute(2, 0, 1) / 255
    return with_row(picture), torch.from_numpy(small["mask"])


def motorcycle_parts(factor: int) -> tuple[Pairs, Pairs, Pairs]:
    """Split the scene for training, validation and testing; the test part shares no cell.

    Args:
        factor: Factor to shrink the scene by.
    """
    image, depth = motorcycle(factor)
    start, stop, end = (
        int(share * depth.shape[1]) for share in (VALIDATION_START, VALIDATION_END, TRAINING_END)
    )
    strip = torch.zeros_like(depth, dtype=torch.bool)
    strip[:, start:stop] = True
    seen, unseen = depth.masked_fill(strip, 0), depth.masked_fill(~strip, 0)  # 0: not known
    left = image[:, :, :end]
    train, val = (left, seen[:, :end]), (left, unseen[:, :end])
    return [train], [val], [(image[:, :, end:], depth[:, end:])]


class Folder:
    """Shrunk pairs of a folder of the user's, with the row of each cell.

    Args:
        path: Folder of images and depths; see :class:`ncalab.tasks.DepthDataset`.
        files: Names of the images to use.
        scale: Depth of one count in files of integers.
        factor: Factor to shrink by.
    """

    def __init__(self, path: Path, files: Sequence[str], scale: float, factor: int) -> None:
        self.pairs = DepthDataset(path, files, partial(resized, factor=factor), scale=scale)

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> Pair:
        image, depth = self.pairs[number]
        return with_row(image), depth


def folder_parts(path: Path, scale: float, factor: int) -> tuple[Pairs, Pairs, Pairs]:
    """Split the pairs of a folder, sorted by name: 70 % training, 15 % validation, 15 % testing."""
    names = [image.name for image, _ in DepthDataset(path, scale=scale).pairs]
    if len(names) < 3:
        raise ValueError(f"--data must hold at least 3 pairs, got {len(names)} in {path}")
    part = max(1, round(0.15 * len(names)))
    ends = (0, len(names) - 2 * part, len(names) - part, len(names))
    train, val, test = (
        Folder(path, names[first:last], scale, factor) for first, last in pairwise(ends)
    )
    return train, val, test


class Crops(Dataset[Pair]):
    """Random crops of pairs: zoomed, mirrored, and with other or no colours each time.

    Args:
        pairs: What to crop from.
        number: Number of crops in an epoch.
        size: (W, H) of a crop, at most; a smaller image limits it.
        zoom: Images are enlarged by a factor of up to exp(zoom), or shrunk.
        jitter: Range of the changes of brightness, contrast and each colour.
        noise: Largest standard deviation of Gaussian noise: texture must not be copied into depth.
        tilt: Range of a shift of the rows: a crop must not be told by its height alone.
    """

    def __init__(
        self,
        pairs: Pairs,
        number: int,
        size: tuple[int, int],
        *,
        zoom: float = 0.3,
        jitter: float = 0.4,
        noise: float = 0.15,
        tilt: float = 0.2,
    ) -> None:
        self.pairs, self.number = pairs, number
        self.zoom, self.jitter, self.noise, self.tilt = zoom, jitter, noise, tilt
        grids = [pairs[place][1].shape for place in range(len(pairs))]
        self.size = tuple(
            min(side, *(grid[axis] for grid in grids)) for axis, side in enumerate(size)
        )

    def __len__(self) -> int:
        return self.number

    def __getitem__(self, idx: int) -> Pair:
        if not 0 <= idx < self.number:
            raise IndexError(f"idx must be in [0, {self.number}), got {idx}")
        image, depth = self._zoomed(*self.pairs[int(torch.randint(len(self.pairs), ()))])
        (w, width), (h, height) = (
            (int(torch.randint(whole - part + 1, ())), part)
            for whole, part in zip(depth.shape, self.size, strict=True)
        )
        image, depth = image[:, w : w + width, h : h + height], depth[w : w + width, h : h + height]
        if torch.rand(()) < 0.5:
            image, depth = image.flip(-1), depth.flip(-1)
        return torch.cat([self._recoloured(image[:3]), image[3:] + self.tilt * uniform()]), depth

    def _zoomed(self, image: Tensor, depth: Tensor) -> Pair:
        factor = float(torch.exp(self.zoom * uniform()))
        grid = [
            max(part, round(whole * factor))
            for whole, part in zip(depth.shape, self.size, strict=True)
        ]
        image = F.interpolate(image[None], grid, mode="bilinear", antialias=True)[0]
        return image, F.interpolate(depth[None, None], grid, mode="nearest-exact")[0, 0]

    def _recoloured(self, colours: Tensor) -> Tensor:
        if torch.rand(()) < GREY_SHARE:
            colours = colours.mean(dim=0, keepdim=True).expand_as(colours)
        tint, contrast = 1 + self.jitter * uniform(3, 1, 1), 1 + self.jitter * uniform()
        shifted = (colours * tint - 0.5) * contrast + 0.5 + self.jitter / 2 * uniform()
        noise = self.noise * torch.rand(()) * torch.randn(colours.shape)
        return shifted.clamp(0, 1) + noise


def uniform(*size: int) -> Tensor:
    """Draw from [-1, 1)."""
    return 2 * torch.rand(size) - 1


def known(depth: Tensor) -> Tensor:
    """Return the depths that are known, as one axis."""
    return depth[depth.isfinite() & (depth > 0)]


def known_depths(pairs: Pairs) -> Tensor:
    """Return all depths that are known in any of the pairs, as one axis."""
    depths = torch.cat([known(pairs[number][1]) for number in range(len(pairs))])
    if not len(depths):
        raise ValueError("depth must be known somewhere in the training images")
    return depths


def loader(pairs: Pairs) -> DataLoader[Pair]:
    """Load one pair at a time, since each may have a size of its own."""
    return DataLoader(pairs)  # type: ignore[arg-type]  # whatever has a length and items
