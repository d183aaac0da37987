"""Images and masks of a folder, resized and split: for those who have Kvasir-SEG or the like."""

from pathlib import Path

import numpy as np
import torch

from ncalab.tasks import SegmentationNCADataset
from ncalab.tasks.segmentation.pairs import find_pairs

Arrays = dict[str, np.ndarray]


class Mirrored:
    """Transform that mirrors images and masks at random along both axes."""

    augments_only = True  # nothing that a prediction would have to repeat

    def __call__(self, *, image: np.ndarray, mask: np.ndarray) -> Arrays:
        """Transform ``image`` ``(W, H, C)`` and ``mask`` ``(W, H)``."""
        for axis in (0, 1):
            if torch.rand(()) < 0.5:
                image, mask = np.flip(image, axis), np.flip(mask, axis)
        return {"image": image, "mask": mask}


def folder_splits(
    path: Path, classes: int, size: int
) -> tuple[SegmentationNCADataset, SegmentationNCADataset, SegmentationNCADataset]:
    """Split a folder with ``images`` and ``masks``: 80 % to train, 10 % to validate, 10 % to test.

    Args:
        path: The folder.
        classes: 1 for masks of black and white; otherwise the values are the classes.
        size: Side that all are resized to.

    Returns:
        Training, validation and test part; only the first is mirrored at random.
    """
    names = [image.name for image, _ in find_pairs(path / "images", path / "masks")]
    if len(names) < 3:
        raise SystemExit(f"--data must hold at least 3 images, got {len(names)} in {path}")
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(0)).tolist()
    names = [names[i] for i in order]
    tenth = max(1, len(names) // 10)
    parts = {"test": names[:tenth], "val": names[tenth : 2 * tenth], "train": names[2 * tenth :]}
    train, val, test = (
        SegmentationNCADataset(
            path,
            parts[part],
            Mirrored() if part == "train" else None,
            num_classes=classes,
            resize=(size, size),
        )
        for part in ("train", "val", "test")
    )
    return train, val, test
