"""Masks of the living cells of a growing automaton."""

import torch
import torch.nn.functional as F
from torch import Tensor

# The compiled engine states it again: native/alive.h.
ALPHA_CHANNEL = 3
ALIVE_THRESHOLD = 0.1


def visible_cells(image: Tensor) -> Tensor:
    """Mark the cells of an image that show something.

    Args:
        image: Image channels, shape ``(B, C, *grid)``. With C = 1 a cell is visible where its
            brightness exceeds 0.1, with C = 4 where its opacity (channel 3) does; with any other
            number of channels all cells are.

    Returns:
        Mask, shape ``(B, 1, *grid)``, bool. Of a sample that has no visible cell, an empty image
        for example, all cells are marked.

    >>> import torch
    >>> visible_cells(torch.tensor([[[[0.0, 0.1, 0.9]]]])).tolist()
    [[[[False, False, True]]]]
    """
    if image.shape[1] not in (1, ALPHA_CHANNEL + 1):
        return torch.ones_like(image[:, :1], dtype=torch.bool)
    return all_if_none(image[:, -1:] > ALIVE_THRESHOLD)


def all_if_none(mask: Tensor) -> Tensor:
    """Return a mask ``(B, 1, *grid)`` in which samples without a marked cell have them all."""
    return mask | ~mask.flatten(1).any(dim=1).view(-1, *[1] * (mask.ndim - 1))


def alive_mask(state: Tensor) -> Tensor:
    """Mark the cells that have a visible cell in their 3x3 neighbourhood (3^d on d axes).

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, section "Living cell masking".

    Args:
        state: Cell states, shape ``(B, C, *grid)``, whose channel 3 is the opacity.

    Returns:
        Mask, shape ``(B, 1, *grid)``, bool.

    >>> import torch
    >>> seed = torch.zeros(1, 4, 3, 5)
    >>> seed[0, 3, 0, 0] = 1
    >>> alive_mask(seed)[0, 0].int().tolist()
    [[1, 1, 0, 0, 0], [1, 1, 0, 0, 0], [0, 0, 0, 0, 0]]
    """
    opacity = state[:, ALPHA_CHANNEL : ALPHA_CHANNEL + 1].detach()
    return _neighbourhood_maximum(opacity) > ALIVE_THRESHOLD


def _neighbourhood_maximum(values: Tensor) -> Tensor:
    """Return the maximum over the 3^d neighbourhood of each cell, shape ``(B, 1, *grid)``."""
    # Max-pooling pads with -inf: beyond the border nothing lives.
    if values.ndim == 5:
        return F.max_pool3d(values, 3, stride=1, padding=1)
    if values.ndim == 4:
        return F.max_pool2d(values, 3, stride=1, padding=1)
    # An exported max_pool1d is bound to the size of its example.
    columns = values.unsqueeze(-1)
    return F.max_pool2d(columns, (3, 1), stride=1, padding=(1, 0)).squeeze(-1)
