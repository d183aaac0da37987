"""Sizes of the labels that a segmentation is trained on."""

from typing import Any

import pytest
import torch

from ncalab.tasks import SegmentationNCAModel


def seen_sizes(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, ...]]:
    """Return a set that sizes of the labels of all losses are added to."""
    sizes: set[tuple[int, ...]] = set()
    loss = SegmentationNCAModel.loss

    def spy(self: SegmentationNCAModel, pred: Any, label: torch.Tensor) -> Any:
        sizes.add(tuple(label.shape[1:]))
        return loss(self, pred, label)

    monkeypatch.setattr(SegmentationNCAModel, "loss", spy)
    return sizes
