"""Votes: each living cell of an image names a class, and the image takes that of the most."""

import torch
from torch import Tensor

from ncalab.core.alive import all_if_none, visible_cells


def living_cells(image: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mark the cells that have a say.

    Source: Randazzo et al., Self-classifying MNIST Digits, Distill 2020,
    doi:10.23915/distill.00027.002: pixels of the digit brighter than 0.1. Extended to images with
    an opacity, and to those of which every pixel counts.

    Args:
        image: Image channels, shape ``(B, C, W, H)``. With C = 1 a cell lives where its
            brightness exceeds 0.1, with C = 4 where its opacity (channel 3) does; with any other
            number of channels all cells live.
        mask: Cells to count instead, shape ``(B, W, H)`` or ``(B, 1, W, H)``, true or non-zero
            where they count.

    Returns:
        Mask, shape ``(B, 1, W, H)``, bool. Of a sample that has no living cell, an empty image
        for example, all cells are marked: it is classified as well.

    Raises:
        ValueError: If the mask has another shape.

    >>> living_cells(torch.tensor([[[[0.0, 0.1, 0.9]]]])).tolist()
    [[[[False, False, True]]]]
    """
    if mask is None:
        return visible_cells(image)
    return all_if_none(_as_channel(mask, image).to(image.device) != 0)


def _as_channel(mask: Tensor, image: Tensor) -> Tensor:
    batch, _, *grid = image.shape
    if mask.shape not in ((batch, *grid), (batch, 1, *grid)):
        raise ValueError(
            f"mask must have shape {(batch, *grid)} or {(batch, 1, *grid)}, got {tuple(mask.shape)}"
        )
    return mask.reshape(batch, 1, *grid)


def mean_over_cells(values: Tensor, living: Tensor) -> Tensor:
    """Average each channel over the living cells of each sample.

    Args:
        values: Shape ``(B, K, W, H)``. What dead cells hold has no effect, not even NaN.
        living: Mask, shape ``(B, 1, W, H)``, bool, with a living cell in every sample.

    Returns:
        Means, shape ``(B, K)``.

    >>> values = torch.tensor([[[[1.0, 2.0, 6.0]]]])
    >>> mean_over_cells(values, torch.tensor([[[[True, True, False]]]])).tolist()
    [[1.5]]
    """
    total = torch.where(living, values, 0).flatten(2).sum(dim=2)
    return total / living.flatten(2).sum(dim=2)


def count_votes(logits: Tensor, living: Tensor) -> Tensor:
    """Count the living cells that vote for each class, which is that of their largest logit.

    Args:
        logits: Shape ``(B, K, W, H)``.
        living: Mask, shape ``(B, 1, W, H)``, bool.

    Returns:
        Votes, shape ``(B, K)``, int64.

    >>> logits = torch.tensor([[[[2.0, 0.0, 0.0]], [[1.0, 1.0, 1.0]]]])
    >>> count_votes(logits, torch.tensor([[[[True, True, False]]]])).tolist()
    [[1, 1]]
    """
    votes = torch.zeros(logits.shape[:2], dtype=torch.int64, device=logits.device)
    classes = logits.argmax(dim=1).flatten(1)  # (B, W H)
    return votes.scatter_add(1, classes, living.flatten(1).long())


def agreement(votes: Tensor) -> Tensor:
    """Return which samples are in total agreement: all their living cells vote alike.

    Source: Randazzo et al. 2020, doi:10.23915/distill.00027.002, "total agreement".

    Args:
        votes: Votes, shape ``(B, K)``.

    Returns:
        Shape ``(B,)``, bool.

    >>> agreement(torch.tensor([[0, 9], [1, 8]])).tolist()
    [True, False]
    """
    return votes.amax(dim=1) == votes.sum(dim=1)
