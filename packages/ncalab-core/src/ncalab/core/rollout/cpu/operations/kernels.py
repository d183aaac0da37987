"""The operations that the CPU engine's steps are made of, on channels-last grids."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolve(grid: Tensor, kernel: Tensor) -> Tensor:
    """Filter a framed channels-last grid depthwise.

    Args:
        grid: Framed states, shape ``(B, w + 2r, h + 2r, C)``.
        kernel: The filter, shape ``(C, 1, k, k)``, k = 2r + 1.

    Returns:
        Filtered states, shape ``(B, w, h, C)``, contiguous.
    """
    seen = F.conv2d(grid.permute(0, 3, 1, 2), kernel, groups=grid.shape[3])
    # A grid of one column or one channel lets the convolution choose another order.
    return seen.permute(0, 2, 3, 1).contiguous()


def filter_gradient(source: Tensor, gradient: Tensor, kernel: Tensor) -> Tensor:
    """Return the gradient of a depthwise filter, shape ``(C, k, k)``.

    Args:
        source: Framed states, shape ``(B, w + 2r, h + 2r, C)``.
        gradient: Gradient of the filtered view, shape ``(B, w, h, C)``.
        kernel: The filter, shape ``(C, 1, k, k)``.
    """
    _, d_kernel, _ = torch.ops.aten.convolution_backward(
        gradient.permute(0, 3, 1, 2),
        source.permute(0, 3, 1, 2),
        kernel,
        None,
        [1, 1],
        [0, 0],
        [1, 1],
        False,
        [0, 0],
        source.shape[3],
        [False, True, False],
    )
    result: Tensor = d_kernel[:, 0]
    return result


def perceive(
    own: Tensor, source: Tensor, filters: list[Tensor], cells: Tensor, out: Tensor
) -> Tensor:
    """Collect what some cells perceive.

    Args:
        own: States of those cells, shape ``(N, C)``.
        source: Framed states, shape ``(B, w + 2r, h + 2r, C)``.
        filters: n depthwise filters.
        cells: Which of the ``B * w * h`` cells they are, int64, shape ``(N,)``.
        out: Where to write the perception without time, shape ``(N, (1 + n) C)``.

    Returns:
        ``out``.
    """
    channels = source.shape[3]
    views = (convolve(source, kernel).view(-1, channels) for kernel in filters)
    seen = [view.index_select(0, cells) for view in views]
    return torch.cat([own, *seen], dim=1, out=out)


def activate(activation: nn.Module, hidden: Tensor) -> Tensor:
    """Apply the nonlinearity, in place where that is known to be safe."""
    if type(activation) is nn.ReLU:
        return hidden.relu_()
    result: Tensor = activation(hidden)
    return result


def neighbourhood_max(plane: Tensor) -> Tensor:
    """Return the largest value in the 3x3 neighbourhood of each cell of ``(B, w, h)``."""
    padded = F.pad(plane, (1, 1, 1, 1), value=float("-inf"))
    columns = torch.maximum(padded[:, :-2], padded[:, 1:-1])
    columns = torch.maximum(columns, padded[:, 2:], out=columns)
    lines = torch.maximum(columns[..., :-2], columns[..., 1:-1])
    return torch.maximum(lines, columns[..., 2:], out=lines)
