"""Labels of whole images, and how far cells or images are from them."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

LossType = Literal["cross_entropy", "focal", "mse"]

NO_CLASS = -100
"""Label of a cell that does not count."""


def check_labels(label: Tensor, batch: int, num_classes: int) -> Tensor:
    """Return labels as int64, shape ``(B,)``.

    Args:
        label: Class indices, integers, shape ``(B,)`` or ``(B, 1)``.
        batch: Number of samples B.
        num_classes: Number of classes K.

    Raises:
        TypeError: If they are not integers.
        ValueError: If they have another shape, or one is not in [0, K).

    >>> check_labels(torch.tensor([[2], [0]], dtype=torch.uint8), 2, 3)
    tensor([2, 0])
    """
    if label.shape not in ((batch,), (batch, 1)):
        raise ValueError(
            f"label must have shape ({batch},) or ({batch}, 1), got {tuple(label.shape)}"
        )
    if label.is_floating_point() or label.dtype == torch.bool:
        raise TypeError(f"label must hold integers, got {label.dtype}")
    label = label.reshape(batch).long()
    outside = (label < 0) | (label >= num_classes)
    if outside.any():
        raise ValueError(
            f"label must be in [0, {num_classes}), got {int(label[outside.nonzero()[0]])}"
        )
    return label


def on_every_cell(label: Tensor, living: Tensor) -> Tensor:
    """Give each living cell the label of its image.

    Args:
        label: Class indices, shape ``(B,)``.
        living: Mask, shape ``(B, 1, W, H)``, bool.

    Returns:
        Class indices, shape ``(B, W, H)``; ``NO_CLASS`` on dead cells.

    >>> on_every_cell(torch.tensor([3]), torch.tensor([[[[True, False]]]])).tolist()
    [[[3, -100]]]
    """
    return torch.where(living[:, 0], label[:, None, None], NO_CLASS)


def errors(logits: Tensor, target: Tensor, loss_type: LossType) -> Tensor:
    """Measure how far each image, or each cell, is from its label.

    Args:
        logits: Shape ``(B, K)`` or ``(B, K, W, H)``.
        target: Class indices, shape ``(B,)`` or ``(B, W, H)``, ``NO_CLASS`` where none counts.
        loss_type: "cross_entropy" (of the softmax, in nats), or "mse": half the squared distance
            to the one-hot vector of the label (Randazzo et al. 2020,
            doi:10.23915/distill.00027.002).

    Returns:
        Errors in the shape of ``target``, 0 where none counts.

    >>> errors(torch.tensor([[1.0, 1.0]]), torch.tensor([0]), "mse").item()
    0.5
    """
    if loss_type == "cross_entropy":
        return F.cross_entropy(logits, target, reduction="none", ignore_index=NO_CLASS)
    counts = target != NO_CLASS
    one_hot = F.one_hot(target.where(counts, 0), logits.shape[1]).movedim(-1, 1)
    return torch.where(counts, (logits - one_hot).square().sum(dim=1) / 2, 0)
