"""Losses of depth maps, one value for each image; only valid cells count."""

import torch
from torch import Tensor

from ncalab.tasks.depth.valid import image_means

SCALES = 4
# Of the label's variance; see scale_shift_error.
_LEAST_VARIANCE = 1e-4


def squared_error(preds: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return the mean squared error of each image.

    Args:
        preds: Predicted depth, shape ``(B, 1, W, H)``, floating point.
        target: Depth, same shape and dtype. Values that are not valid are not read.
        valid: Which cells count, same shape, bool.

    Returns:
        Errors, shape ``(B,)``; 0 for an image without a valid cell.

    >>> preds, target = torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 0.0]]]])
    >>> squared_error(preds, target, target > 0).tolist()
    [4.0]
    """
    return image_means(_difference(preds, target, valid).square(), valid)


def _difference(preds: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return ``preds - target``, and 0 where it is not valid."""
    # Selected before anything else is computed, or NaN would come back through the gradient.
    return torch.where(valid, preds, 0) - torch.where(valid, target, 0)


def scale_shift_error(preds: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return what is left of the squared error when each prediction is scaled and shifted to fit.

    The scale and shift are those of the least squares of each image: this loss sees relative
    depth only.

    Source: Ranftl et al., Towards Robust Monocular Depth Estimation: Mixing Datasets for Zero-shot
    Cross-dataset Transfer, TPAMI 2022, arXiv:1907.01341, eq. 1 to 4. Deviations: the error is not
    halved, and a prediction with less than a hundredth of the label's contrast is scaled as if it
    had that much, since the gradient grows with the scale and has no bound at a flat prediction.

    Args:
        preds: Predicted depth, shape ``(B, 1, W, H)``, floating point.
        target: Depth, same shape and dtype. Values that are not valid are not read.
        valid: Which cells count, same shape, bool.

    Returns:
        Errors, shape ``(B,)``; 0 for an image without a valid cell.

    >>> target = torch.tensor([[[[1.0, 2.0, 4.0]]]])
    >>> scale_shift_error(3 * target + 5, target, target > 0).item() < 1e-12
    True
    """
    x, y = (_centred(depth, valid) for depth in (preds, target))
    variance_x, variance_y = image_means(x.square(), valid), image_means(y.square(), valid)
    least = (_LEAST_VARIANCE * variance_y).clamp(min=torch.finfo(y.dtype).tiny)
    scale = image_means(x * y, valid) / variance_x.maximum(least)
    return image_means((scale[:, None, None, None] * x - y).square(), valid)


def _centred(depth: Tensor, valid: Tensor) -> Tensor:
    """Subtract the mean of the valid cells of each image; 0 where it is not valid."""
    mean = image_means(depth, valid)[:, None, None, None]
    return torch.where(valid, depth, mean) - mean


def gradient_error(preds: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Return the mean absolute error of the differences between neighbours, at several scales.

    It asks for edges where the label has them, and for smooth surfaces between them.

    Source: Ranftl et al., as for :func:`scale_shift_error`, eq. 11. Deviations: depth is compared
    as it is, not scaled and shifted; each scale is a mean over its pairs of valid neighbours, and
    the result the mean of the scales, so that it depends neither on holes nor on the size of the
    image.

    Args:
        preds: Predicted depth, shape ``(B, 1, W, H)``, floating point.
        target: Depth, same shape and dtype. Values that are not valid are not read.
        valid: Which cells count, same shape, bool.

    Returns:
        Errors, shape ``(B,)``; 0 for an image without a pair of valid neighbours.

    >>> target = torch.tensor([[[[1.0, 2.0]]]])
    >>> gradient_error(target + 3, target, target > 0).tolist()
    [0.0]
    >>> gradient_error(torch.ones_like(target), target, target > 0).tolist()
    [1.0]
    """
    residual = _difference(preds, target, valid)
    # A scale of a single cell has no pairs.
    steps = [2**n for n in range(SCALES) if n == 0 or max(target.shape[-2:]) > 2**n]
    errors = [
        _neighbour_error(residual[..., ::step, ::step], valid[..., ::step, ::step])
        for step in steps
    ]
    return torch.stack(errors).mean(dim=0)


def _neighbour_error(residual: Tensor, valid: Tensor) -> Tensor:
    """Sum the mean absolute differences along both axes."""
    along_w = (residual[..., 1:, :] - residual[..., :-1, :]).abs()
    along_h = (residual[..., 1:] - residual[..., :-1]).abs()
    return image_means(along_w, valid[..., 1:, :] & valid[..., :-1, :]) + image_means(
        along_h, valid[..., 1:] & valid[..., :-1]
    )
