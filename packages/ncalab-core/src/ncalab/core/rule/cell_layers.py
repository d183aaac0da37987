"""Layers that act on the channels of each cell."""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncalab.core.checks import check_int

Normalization = Literal["layer", "rms"]
NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)


class CellNorm(nn.Module):
    """Normalise the channels of each cell, by themselves, then scale them.

    Source: "layer" is layer normalisation (Ba et al. 2016, arXiv:1607.06450), "rms" divides by
    the root of the mean square (Zhang & Sennrich 2019, arXiv:1910.07467). Statistics are those of
    one cell: unlike a batch's, they are the same in training and prediction, at every step.

    Args:
        channels: Number of channels.
        kind: "layer" or "rms".

    >>> cells = torch.tensor([3.0, 4.0]).view(1, 2, 1, 1)
    >>> CellNorm(2, "rms")(cells).square().mean().round(decimals=3).item()
    1.0
    """

    def __init__(self, channels: int, kind: Normalization) -> None:
        super().__init__()
        self.channels = check_int("channels", channels, minimum=1)
        self.kind = kind
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels)) if kind == "layer" else None

    def forward(self, x: Tensor) -> Tensor:
        """Normalise cells, shape ``(B, channels, *grid)``."""
        last = x.movedim(1, -1)
        if self.kind == "layer":
            last = F.layer_norm(last, (self.channels,), self.weight, self.bias)
        else:
            last = F.rms_norm(last, (self.channels,), self.weight)
        return last.movedim(-1, 1)

    def extra_repr(self) -> str:
        """Describe it within the representation of its module."""
        return f"{self.channels}, {self.kind!r}"


def is_matrix(layer: nn.Conv2d) -> bool:
    """Return whether a convolution is one matrix, applied to every cell."""
    shape = (layer.weight.shape[2:], layer.stride, layer.padding, layer.groups)
    return shape == ((1, 1), (1, 1), (0, 0), 1)
