"""The figures of a cross-validation: what evaluate.py prints and the card of a fold states."""

from collections.abc import Sequence
from pathlib import Path

import torch
from crops import Crops, load_crops
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel
from ncalab.tasks import SegmentationNCAModel

FOLDS = 3


def measure(nca: AbstractNCAModel, crops: Crops, names: Sequence[str]) -> dict[str, float]:
    """Measure the model of a fold, the same at each call.

    Args:
        nca: The model.
        crops: All crops.
        names: The fold's validation crops, which the model's weights have not learned from.

    Returns:
        Metrics by name.
    """
    places = [crops.names.index(name) for name in names]
    images = torch.from_numpy(crops.images[places])[:, None] / 255  # (n, 1, 64, 64)
    masks = torch.from_numpy(crops.masks[places]).long()  # (n, 64, 64)
    torch.manual_seed(0)
    values, _ = nca.validate(DataLoader(TensorDataset(images, masks), 16), keep_predictions=False)
    return values


def measure_pretrained(folder: Path) -> dict[str, float]:
    """Measure a model of pretrained/ on the crops of its fold, under the names of its card."""
    crops = load_crops()
    fold = crops.split(FOLDS)[int(folder.name.removeprefix("fold_"))]
    return measure(SegmentationNCAModel.from_pretrained(folder), crops, fold.val)
