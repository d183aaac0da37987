"""Structural similarity of depth maps that have holes."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core.perception import pad_cells
from ncalab.tasks.depth.valid import image_means

WINDOW = 11
_SIGMA = 1.5
_K1, _K2 = 0.01, 0.03


def label_range(target: Tensor, valid: Tensor) -> Tensor:
    """Return the largest valid depth of each label, the default dynamic range of its SSIM.

    Args:
        target: Depth, shape ``(B, 1, W, H)``, floating point.
        valid: Which cells count, same shape, bool.

    Returns:
        Ranges, shape ``(B,)``, above 0; 1 for a label without valid depth.

    >>> depth = torch.tensor([[[[2.0, 4.0, 9.0]]]])
    >>> label_range(depth, depth < 5).tolist()
    [4.0]
    """
    largest = torch.where(valid, target, 0).amax(dim=(1, 2, 3))
    return torch.where(largest > 0, largest, 1)


def masked_ssim(preds: Tensor, target: Tensor, valid: Tensor, data_range: Tensor) -> Tensor:
    """Compare the local means, contrasts and structures of depth maps.

    Without holes, it is the SSIM of the source with its Gaussian window (11x11, sigma 1.5) around
    every cell, as torchmetrics computes it. Images continue mirrored beyond their border, and those
    smaller than the window are mirrored as often as it takes. With holes, the statistics of each
    window are those of its valid cells, and the windows around valid cells count.

    Source: Wang et al., Image Quality Assessment: From Error Visibility to Structural Similarity,
    IEEE Transactions on Image Processing 2004, doi:10.1109/TIP.2003.819861, eq. 13; the weighting
    by validity is ours.

    Args:
        preds: Predicted depth, shape ``(B, 1, W, H)``, floating point.
        target: Depth, same shape and dtype. Values that are not valid are not read.
        valid: Which cells count, same shape, bool.
        data_range: Dynamic range L of each image's depth, shape ``(B,)``, above 0.

    Returns:
        Mean SSIM of each image, shape ``(B,)``, at most 1; 0 for an image without a valid cell.

    >>> depth = torch.rand(1, 1, 16, 12) + 1
    >>> masked_ssim(depth, depth, depth > 0, torch.tensor([2.0])).item()
    1.0
    """
    # Variances are differences of means of squares, which lose few digits near zero.
    middle = image_means(target, valid)[:, None, None, None]
    x, y = (torch.where(valid, depth, middle) - middle for depth in (preds, target))
    maps = torch.cat([x, y, x * x, y * y, x * y, valid.to(x.dtype)], dim=1)
    means = _local_means(maps)
    # The window around a valid cell has at least that cell's weight.
    moments = means[:, :5] / torch.where(valid, means[:, 5:], 1)
    return image_means(_similarity(moments, middle, data_range[:, None, None, None]), valid)


def _local_means(maps: Tensor) -> Tensor:
    """Average each map, shape ``(B, n, W, H)``, with the Gaussian window around every cell."""
    batch, count, *grid = maps.shape
    place = torch.arange(WINDOW, device=maps.device, dtype=maps.dtype) - WINDOW // 2
    weights = torch.softmax(-(place / _SIGMA).square() / 2, dim=0)
    flat = pad_cells(maps.reshape(batch * count, 1, *grid), WINDOW // 2, "reflect")
    # Under autocast, variances would be differences of numbers with 8 bits.
    with torch.autocast(flat.device.type, enabled=False):
        flat = F.conv2d(F.conv2d(flat, weights[None, None, :, None]), weights[None, None, None])
    return flat.reshape(maps.shape)


def _similarity(moments: Tensor, middle: Tensor, data_range: Tensor) -> Tensor:
    """Return the SSIM of windows, shape ``(B, 1, W, H)``, from their moments about ``middle``.

    Args:
        moments: Means of x, y, x^2, y^2 and xy in every window, shape ``(B, 5, W, H)``.
        middle: What was subtracted from x and y, shape ``(B, 1, 1, 1)``.
        data_range: Dynamic range L, shape ``(B, 1, 1, 1)``.
    """
    mean_x, mean_y, xx, yy, xy = moments.split(1, dim=1)
    c1, c2 = (_K1 * data_range).square(), (_K2 * data_range).square()
    variance_x = (xx - mean_x.square()).clamp(min=0)
    variance_y = (yy - mean_y.square()).clamp(min=0)
    covariance = xy - mean_x * mean_y
    x, y = mean_x + middle, mean_y + middle
    luminance = (2 * x * y + c1) / (x.square() + y.square() + c1)
    similarity: Tensor = luminance * (2 * covariance + c2) / (variance_x + variance_y + c2)
    return similarity
