"""Valid cells of a depth map, and means over them."""

import torch
from torch import Tensor


def valid_depth(depth: Tensor) -> Tensor:
    """Mark the cells whose depth is known: finite and above 0.

    Args:
        depth: Depth, any shape, floating point.

    Returns:
        Mask of the same shape, bool.

    >>> valid_depth(torch.tensor([2.5, 0.0, -1.0, float("nan"), float("inf")])).tolist()
    [True, False, False, False, False]
    """
    return torch.isfinite(depth) & (depth > 0)


def image_means(values: Tensor, valid: Tensor) -> Tensor:
    """Average the valid cells of each image.

    Args:
        values: Shape ``(B, 1, W, H)``, floating point. Values that are not valid are not read.
        valid: Which cells count, same shape, bool.

    Returns:
        Means, shape ``(B,)``; 0 for an image without a valid cell.

    >>> values = torch.tensor([[[[1.0, 3.0, float("nan")]]]])
    >>> image_means(values, values < 9).tolist()
    [2.0]
    """
    count = valid.sum(dim=(1, 2, 3)).clamp(min=1)
    return torch.where(valid, values, 0).sum(dim=(1, 2, 3)) / count
