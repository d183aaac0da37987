"""A folder of images and their depth maps."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncalab.core import Preparation
from ncalab.core.argument_types import check_positive
from ncalab.core.checks import check_int
from ncalab.core.intensities import Normalization
from ncalab.tasks.arguments import check_data_arguments
from ncalab.tasks.depth.files import DEPTH_SUFFIXES, read_depth
from ncalab.tasks.depth.valid import valid_depth
from ncalab.tasks.file_pairs import FilePairs
from ncalab.tasks.images import (
    MAX_PIXELS,
    FileNames,
    check_reading,
    image_to_tensor,
    list_images,
    read_image,
    with_channels,
)
from ncalab.tasks.images.folders import last_part, why_missing, why_no_images
from ncalab.tasks.preparing import (
    Used,
    for_transform,
    settled,
    transform_name,
    used_range,
    warn_of_range,
)

Transform = Callable[..., dict[str, Any]]


class DepthDataset(FilePairs):
    """Pairs of an image in ``images/`` and a depth map of the same name in ``depths/``.

    Names match up to the suffix: ``images/a.jpg`` and ``depths/a.png``. Everything is read once
    when the data set is made, so that a broken file ends no training.

    Args:
        path: Folder that holds ``images`` and ``depths``.
        files: Names (or paths) of the images to use, with or without suffix; all images, sorted,
            if None.
        transform: Called as ``transform(image=..., mask=...)`` with an image ``(W, H, channels)``,
            as it was read, or float32 where images are normalised or resized, and depth
            ``(W, H)``, float32; returns a dictionary of both under the same names. Those of
            Albumentations are such callables.
        scale: Depth of one count in files of integers; see :func:`read_depth`.
        num_image_channels: 1 for grey images, 3 for RGB, 4 for RGBA.
        image_folder: Name of the folder of images.
        depth_folder: Name of the folder of depth maps.
        page: Page of images with several, from 0, and of depth maps with several.
        max_pixels: Pixels that an image or depth map may have at most; None for any number.
        normalize: What is done to the values of each image, by its own statistics: "none" (8 and
            16 bits are scaled to [0, 1]), "range", "percentile", "standardize", or "auto"
            (percentiles of images of 16 bits, nothing else otherwise); see
            :func:`ncalab.core.intensities.normalized`.
        resize: W and H that images (by linear interpolation) and depth maps (the nearest values)
            are brought to; None: they keep their size.

    Raises:
        FileNotFoundError: If a folder or file is missing.
        TypeError: If an argument has another type.
        ValueError: If a file cannot be read, two depth maps have the name of one image, the sizes
            of a pair differ, or there are no images.

    >>> import tempfile
    >>> from PIL import Image
    >>> folder = tempfile.TemporaryDirectory()
    >>> for name, kind in (("images", np.uint8), ("depths", np.uint16)):
    ...     (Path(folder.name) / name).mkdir()
    ...     Image.fromarray(np.full((4, 9), 250, kind)).save(Path(folder.name) / name / "a.png")
    >>> image, depth = DepthDataset(folder.name, scale=0.001)[0]
    >>> image.shape, depth.shape, depth.max().item()
    (torch.Size([3, 4, 9]), torch.Size([4, 9]), 0.25)
    >>> folder.cleanup()
    """

    def __init__(
        self,
        path: str | Path,
        files: Sequence[str | Path] | None = None,
        transform: Transform | None = None,
        *,
        scale: float = 1.0,
        num_image_channels: int = 3,
        image_folder: str = "images",
        depth_folder: str = "depths",
        page: int | None = None,
        max_pixels: int | None = MAX_PIXELS,
        normalize: Normalization = "auto",
        resize: tuple[int, int] | None = None,
    ) -> None:
        check_reading(page, max_pixels)
        names = {"image_folder": image_folder, "depth_folder": depth_folder}
        check_data_arguments(path, files, transform, names=names)
        if isinstance(files, str):
            raise TypeError(f"files must be a sequence of names, got {files!r}")
        check_positive("scale", scale)
        if check_int("num_image_channels", num_image_channels, minimum=1) not in (1, 3, 4):
            raise ValueError(f"num_image_channels must be 1, 3 or 4, got {num_image_channels}")
        self.path = Path(path)
        self.transform = transform
        self.scale = scale
        self.num_image_channels = num_image_channels
        self.page, self.max_pixels = page, max_pixels
        images = list_images(self.path / image_folder)
        depths = FileNames(list_images(self.path / depth_folder, DEPTH_SUFFIXES))
        chosen = images
        if files is not None:
            chosen = _choose(files, FileNames(images), self.path / image_folder)
        if not chosen:
            reason = why_no_images(self.path / image_folder)
            raise ValueError(f"files must name at least one image, got none in {self.path}{reason}")
        self.pairs = [
            (image, _partner(image, depths, self.path / depth_folder)) for image in chosen
        ]
        preparation = Preparation(channels=num_image_channels, normalize=normalize, resize=resize)
        used: list[Used] = []
        self._knows_depth = False
        for number in range(len(self.pairs)):
            image, depth = self._read(number)
            used.append(used_range(image))
            self._knows_depth |= bool(valid_depth(torch.from_numpy(depth)).any())
        self._preparation = settled(preparation, used)
        warn_of_range(f"images of {self.path / image_folder}", self._preparation, used)

    @property
    def preparation(self) -> Preparation:
        """Preparation of the images; a training puts it into its model."""
        return replace(self._preparation, transform=transform_name(self.transform))

    @property
    def knows_depth(self) -> bool:
        """Whether any depth map that was read has a known depth; that of a subset's whole, too."""
        return self._knows_depth

    def _read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Read image ``(W, H, channels)`` and depth ``(W, H)``; check that they fit."""
        image_path, depth_path = self.pairs[number]
        options = {"page": self.page, "max_pixels": self.max_pixels}
        image = with_channels(read_image(image_path, **options), self.num_image_channels)
        depth = read_depth(depth_path, self.scale, **options)
        if image.shape[:2] != depth.shape:
            raise ValueError(
                f"depth must have the size of its image {image.shape[:2]}, "
                f"got {depth.shape} in {depth_path}"
            )
        return image, depth

    def __getitem__(self, idx: int) -> tuple[Tensor, Tensor]:
        """Return (image ``(channels, W, H)``, normalised, depth ``(W, H)``), float32.

        Raises:
            IndexError: If the index is out of range.
            ValueError: If the transform returns something else than an image and depth of one size.
        """
        if not -len(self) <= idx < len(self):
            raise IndexError(f"idx must be in [0, {len(self)}), got {idx}")
        image, depth = self._read(idx)
        plane = self._preparation.apply_to_labels(depth)
        if self.transform is None:
            return self._preparation.apply(image), plane
        changed = for_transform(self._preparation, image)
        return self._transformed(self.transform(image=changed, mask=plane.numpy()))

    def _transformed(self, changed: Any) -> tuple[Tensor, Tensor]:
        """Check and convert what the transform returned."""
        if not isinstance(changed, dict) or not {"image", "mask"} <= changed.keys():
            raise ValueError(
                f"transform must return a dictionary of image and mask, got {changed!r:.80}"
            )
        image, depth = image_to_tensor(changed["image"]), depth_tensor(changed["mask"])
        if image.shape[0] != self.num_image_channels or image.shape[1:] != depth.shape:
            raise ValueError(
                f"transform must return {self.num_image_channels} image channels and a mask of "
                f"the same size, got {tuple(image.shape)} and {tuple(depth.shape)}"
            )
        return image, depth


def depth_tensor(depth: np.ndarray | Tensor) -> Tensor:
    """Convert a depth map ``(W, H)``, ``(1, W, H)`` or ``(W, H, 1)`` to a label.

    Returns:
        Depth, shape ``(W, H)``, float32.

    Raises:
        ValueError: If it has another shape.

    >>> depth_tensor(np.ones((4, 9, 1))).shape
    torch.Size([4, 9])
    """
    depth = torch.from_numpy(depth.copy()) if isinstance(depth, np.ndarray) else depth
    if depth.ndim == 3 and 1 in (depth.shape[0], depth.shape[2]):
        depth = depth.squeeze(0 if depth.shape[0] == 1 else 2)
    if depth.ndim != 2:
        raise ValueError(f"depth must have shape (W, H), got {tuple(depth.shape)}")
    return depth.float()


def _choose(names: Sequence[str | Path], images: FileNames, folder: Path) -> list[Path]:
    """Return the images of the names, which may be paths, and may lack their suffix."""
    chosen = []
    for name in names:
        found, last = images.find(name), last_part(name)
        if not found:
            raise FileNotFoundError(
                f"files must be names of images, but none is called {last!r}"
                f"{why_missing(folder, last)}"
            )
        if len(found) > 1:
            shown = [file.name for file in found]
            raise ValueError(f"files must be unambiguous, got {last!r}: {shown}")
        chosen += found
    return chosen


def _partner(image: Path, depths: FileNames, folder: Path) -> Path:
    """Return the depth map of an image."""
    found = depths.with_stem(image.stem)
    if not found:
        raise FileNotFoundError(
            f"{image} must have a depth map of the name {image.stem}.*"
            f"{why_missing(folder, image.stem)}"
        )
    if len(found) > 1:
        raise ValueError(f"{image} must have one depth map, got {[f.name for f in found]}")
    return found[0]
