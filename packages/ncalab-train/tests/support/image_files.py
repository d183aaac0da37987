"""Images in files, as a cross-validation takes them."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset


def file_images(path: Path) -> list[str]:
    """Write nine small images into a folder; return their names."""
    names = [f"image_{index}.pt" for index in range(9)]
    for index, name in enumerate(names):
        generator = torch.Generator().manual_seed(index)
        torch.save(torch.rand(1, 5, 4, generator=generator), path / name)
    return names


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Pairs of an image, transformed, and the same image as it is in its file."""

    def __init__(self, path: Path, files: list[str], transform: Any = None) -> None:
        self.path, self.files, self.transform = path, files, transform

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = torch.load(self.path / self.files[index], weights_only=True)
        return (image if self.transform is None else self.transform(image)), image


class OutOfReach(ImageFiles):
    """Image files whose first fold cannot be read."""

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if "image_0.pt" in self.files and len(self) < 4:
            raise OSError("the disk is gone")
        return super().__getitem__(index)


def invert(image: Tensor) -> Tensor:
    """Transform an image; defined here, so that a worker process can import it."""
    return 1 - image
