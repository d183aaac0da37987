"""Damage to states: circles cut out of them, so that repairing is learned."""

import torch
from torch import Tensor


def circle_masks(
    count: int, width: int, height: int, *, generator: torch.Generator | None = None
) -> Tensor:
    """Draw circles on a grid, each at a place and of a size of its own.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, experiment 3: centres in the middle half of the grid, radii of 0.1
    to 0.4 of half its size. Deviation: a circle between the cells of a small grid covers the
    nearest one, so that none is empty.

    Args:
        count: Number of circles N.
        width: Grid width W.
        height: Grid height H.
        generator: CPU generator, torch's default one if None.

    Returns:
        Masks, shape ``(N, 1, W, H)``, bool, true inside the circle.

    >>> circle_masks(5, 9, 3).flatten(1).any(dim=1).all().item()
    True
    """
    draws = torch.rand(3, count, 1, 1, 1, generator=generator)
    along_w = torch.linspace(-1, 1, width)[:, None] if width > 1 else torch.zeros(1, 1)
    along_h = torch.linspace(-1, 1, height)[None, :] if height > 1 else torch.zeros(1, 1)
    radius = 0.1 + 0.3 * draws[2]
    distance = torch.hypot(along_w - (draws[0] - 0.5), along_h - (draws[1] - 0.5))
    return (distance < radius) | (distance == distance.amin(dim=(2, 3), keepdim=True))


def cut_circles(
    states: Tensor,
    places: Tensor,
    probability: float,
    fixed_channels: int = 0,
    *,
    generator: torch.Generator | None = None,
) -> None:
    """Set circles of some samples to zero, in place.

    Args:
        states: States, shape ``(B, C, W, H)``.
        places: Indices of the samples that may be damaged, shape ``(N,)``, int64.
        probability: Probability that each of them is damaged, in [0, 1].
        fixed_channels: Number of channels, the first ones, that are an input and stay whole.
        generator: CPU generator, torch's default one if None.

    >>> states = torch.ones(1, 4, 5, 5)
    >>> cut_circles(states, torch.tensor([0]), 1.0, 3)
    >>> states[:, :3].min().item(), states[:, 3].min().item()
    (1.0, 0.0)
    """
    # Indices from the CPU: a mask on the device would have to be read to know how many it hits.
    hit = (torch.rand(len(places), generator=generator) < probability).nonzero()[:, 0]
    width, height = states.shape[2:]
    holes = circle_masks(len(places), width, height, generator=generator)[hit]
    damaged = places[hit.to(places.device)]
    mutable = states[damaged, fixed_channels:].masked_fill(holes.to(states.device), 0)
    states[damaged, fixed_channels:] = mutable
