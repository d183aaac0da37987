"""Overlap of predicted and labelled classes.

Import it where a metric is created, not before: torchmetrics imports matplotlib where that is
installed.
"""

from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

OverlapKind = Literal["dice", "iou"]
Average = Literal["foreground", "mean", "none"]


def class_overlap(confusion: Tensor, kind: OverlapKind) -> Tensor:
    """Return the overlap of each class.

    Args:
        confusion: Numbers of cells, shape ``(K, K)``, labels along the first axis.
        kind: "dice": twice the overlap, over both sizes; "iou": the overlap, over the union.

    Returns:
        Overlaps in [0, 1], shape ``(K,)``, float64; 1 for a class that is neither labelled nor
        predicted.

    >>> class_overlap(torch.tensor([[5, 1, 0], [1, 3, 0], [0, 0, 0]]), "iou").tolist()
    [0.7142857142857143, 0.6, 1.0]
    """
    both = confusion.diag().double()
    sizes = (confusion.sum(dim=0) + confusion.sum(dim=1)).double()
    share, whole = (2 * both, sizes) if kind == "dice" else (both, sizes - both)
    return torch.where(whole > 0, share / whole.clamp(min=1), 1.0)


class Overlap(MulticlassConfusionMatrix):
    """Dice coefficient or intersection over union, over all cells of all images.

    Args:
        num_classes: Number of classes, 2 for a binary segmentation.
        kind: "dice" or "iou".
        average: "foreground" for class 1 alone, "mean" for the mean of those classes that are
            labelled or predicted somewhere, "none" for the value of each class.
        ignore_index: Label of cells that do not count.

    >>> metric = Overlap(2, "dice", "foreground")
    >>> metric.update(torch.tensor([[[0, 1, 1]]]), torch.tensor([[[1, 1, 0]]]))
    >>> metric.compute().item()
    0.5
    """

    higher_is_better = True

    def __init__(
        self,
        num_classes: int,
        kind: OverlapKind,
        average: Average,
        *,
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(num_classes, ignore_index=ignore_index, validate_args=False, **kwargs)
        self.kind = kind
        self.average = average

    def compute(self) -> Tensor:
        """Return the overlap: a scalar, or shape ``(K,)`` without averaging."""
        confusion = super().compute()
        values = class_overlap(confusion, self.kind)
        if self.average == "none":
            return values
        if self.average == "foreground":
            return values[1]
        present = confusion.sum(dim=0) + confusion.sum(dim=1) > 0
        return values[present].mean() if bool(present.any()) else values.mean()
