"""Images and labels at another size."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_linear(image: Tensor, size: Sequence[int]) -> Tensor:
    """Resize by linear interpolation, without aliasing where an axis gets shorter.

    Args:
        image: Shape ``(..., W, H)``, floating point.
        size: Width and height wanted.

    Returns:
        Shape ``(..., *size)``, no value beyond those of ``image``; that one itself if it has the
        size.

    >>> resize_linear(torch.tensor([[0.0, 1.0]]), (1, 4)).tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    width, height = size
    if tuple(image.shape[-2:]) == (width, height):
        return image
    planes = image.reshape(1, -1, *image.shape[-2:])
    resized = F.interpolate(planes, (width, height), mode="bilinear", antialias=True)
    low, high = image.aminmax()
    if bool(low.isfinite() & high.isfinite()):
        # Sums of weights round to a little above 1.
        resized = resized.clamp(low, high)
    return resized.reshape(*image.shape[:-2], width, height)


def resize_nearest(plane: Tensor, size: Sequence[int]) -> Tensor:
    """Resize by taking the nearest value: the mean of two classes, or of two depths, is neither.

    Args:
        plane: Shape ``(..., W, H)``, any dtype.
        size: Width and height wanted.

    Returns:
        Shape ``(..., *size)``; ``plane`` itself if it has the size.

    >>> resize_nearest(torch.tensor([[1, 2]]), (1, 4)).tolist()
    [[1, 1, 2, 2]]
    """
    if tuple(plane.shape[-2:]) == tuple(size):
        return plane
    rows, columns = (
        ((torch.arange(new, device=plane.device) + 0.5) * old / new).long()
        for new, old in zip(size, plane.shape[-2:], strict=True)
    )
    return plane[..., rows, :][..., columns]
