"""Calibration: are predictions that are 80 % sure right in 80 % of cases?"""

from typing import Literal, get_args

import torch
from torch import Tensor

from ncalab.core.checks import check_choice, check_int

Norm = Literal["l1", "l2", "max"]


def expected_calibration_error(
    probabilities: Tensor, labels: Tensor, *, bins: int = 15, norm: Norm = "l1"
) -> float:
    """Compare how sure predictions are with how often they are right, bin by bin.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017, arXiv:1706.04599,
    equation 3 (and 5 for "max"); computed by torchmetrics.

    Args:
        probabilities: As ``nca.interpret`` gives them: ``(B, K, *grid)`` or ``(B, K)``, floating
            point, in [0, 1]; K = 1 for the probability of the foreground, which is then compared
            with how often there is foreground.
        labels: Class of each cell, shape ``(B, *grid)`` or ``(B, 1, *grid)``, or of each image,
            ``(B,)`` or ``(B, 1)``; integers in [0, K), 0 and 1 for K = 1.
        bins: Number of bins of equal width, at least 1.
        norm: "l1" (the expected error, ECE), "l2" (root of the expected square) or "max" (the
            largest error of a bin).

    Returns:
        Error in [0, 1].

    Raises:
        ValueError: If shapes, probabilities, labels or an option are not as described.

    >>> sure = torch.tensor([[0.1, 0.9], [0.1, 0.9]])
    >>> round(expected_calibration_error(sure, torch.tensor([1, 0])), 6)  # right in half of cases
    0.4
    """
    # Imported here, because torchmetrics imports matplotlib where that is installed.
    from torchmetrics.functional.classification import (
        binary_calibration_error,
        multiclass_calibration_error,
    )

    check_int("bins", bins, minimum=1)
    check_choice("norm", norm, get_args(Norm))
    classes = _check_probabilities(probabilities)
    labels = _check_labels(labels, probabilities)
    # One row for each cell.
    rows = probabilities.movedim(1, -1).reshape(-1, classes).float()
    flat = labels.reshape(-1).long().to(rows.device)
    if classes == 1:
        return float(binary_calibration_error(rows[:, 0].contiguous(), flat, bins, norm))
    return float(multiclass_calibration_error(rows, flat, classes, bins, norm))


def _check_probabilities(p: Tensor) -> int:
    """Return the number of classes."""
    if not 2 <= p.ndim <= 5 or 0 in p.shape or not p.is_floating_point():
        raise ValueError(
            "probabilities must be floating point, of shape (B, K, *grid) or (B, K), "
            f"got {p.dtype} of shape {tuple(p.shape)}"
        )
    # Of anything else, torchmetrics would take a sigmoid or a softmax.
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(
            f"probabilities must be in [0, 1], got {p.min().item():.4g} to {p.max().item():.4g}"
        )
    return p.shape[1]


def _check_labels(labels: Tensor, p: Tensor) -> Tensor:
    """Return the labels without an axis of channels."""
    batch, classes, *grid = p.shape
    if tuple(labels.shape) not in ((batch, *grid), (batch, 1, *grid)):
        raise ValueError(
            f"labels must have shape {(batch, *grid)} or {(batch, 1, *grid)} for these "
            f"probabilities, got {tuple(labels.shape)}"
        )
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels must be integers, got {labels.dtype}")
    top = max(classes - 1, 1)
    numbers = labels.to(torch.int64)
    if numbers.min() < 0 or numbers.max() > top:
        raise ValueError(
            f"labels must be in [0, {top}], got {numbers.min().item()} to {numbers.max().item()}"
        )
    return labels
