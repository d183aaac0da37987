"""Damage to states: circles cut out of them, so that repairing is learned."""

from functools import reduce

import torch
from torch import Tensor

SPREAD = 0.5


def circle_masks(
    count: int, *grid: int, spread: float = SPREAD, generator: torch.Generator | None = None
) -> Tensor:
    """Draw circles on a grid (balls in a volume), each at a place and of a size of its own.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, experiment 3: centres in the middle half of the grid, radii of 0.1
    to 0.4 of half its size. Deviation: a circle between the cells of a small grid covers the
    nearest one, so that none is empty.

    Args:
        count: Number of circles N.
        *grid: Size of the grid along each axis.
        spread: Share of each axis, around its middle, that centres lie in, in [0, 1].
        generator: CPU generator, torch's default one if None.

    Returns:
        Masks, shape ``(N, 1, *grid)``, bool, true inside the circle.

    >>> circle_masks(5, 9, 3).flatten(1).any(dim=1).all().item()
    True
    """
    dims = len(grid)
    draws = torch.rand(dims + 1, count, 1, *[1] * dims, generator=generator)
    centres = spread * (2 * draws[:dims] - 1)
    away = [_places(size, axis, dims) - centres[axis] for axis, size in enumerate(grid)]
    radius = 0.1 + 0.3 * draws[-1]
    distance = reduce(torch.hypot, away[1:], away[0].abs())
    nearest = distance.amin(dim=tuple(range(2, 2 + dims)), keepdim=True)
    return (distance < radius) | (distance == nearest)


def _places(size: int, axis: int, dims: int) -> Tensor:
    """Return where the cells of an axis stand, from -1 to 1, shape of a grid with that axis."""
    along = torch.linspace(-1, 1, size) if size > 1 else torch.zeros(1)
    return along.view([size if other == axis else 1 for other in range(dims)])


def cut_circles(
    states: Tensor,
    places: Tensor,
    probability: float,
    fixed_channels: int = 0,
    *,
    spread: float = SPREAD,
    generator: torch.Generator | None = None,
) -> None:
    """Set circles of some samples to zero, in place.

    Args:
        states: States, shape ``(B, C, *grid)``.
        places: Indices of the samples that may be damaged, shape ``(N,)``, int64.
        probability: Probability that each of them is damaged, in [0, 1].
        fixed_channels: Number of channels, the first ones, that are an input and stay whole.
        spread: Share of each axis, around its middle, that the circles have their centres in.
        generator: CPU generator, torch's default one if None.

    >>> states = torch.ones(1, 4, 5, 5)
    >>> cut_circles(states, torch.tensor([0]), 1.0, 3)
    >>> states[:, :3].min().item(), states[:, 3].min().item()
    (1.0, 0.0)
    """
    # Indices from the CPU: a mask on the device would have to be read to know how many it hits.
    hit = (torch.rand(len(places), generator=generator) < probability).nonzero()[:, 0]
    grid = states.shape[2:]
    holes = circle_masks(len(places), *grid, spread=spread, generator=generator)[hit]
    damaged = places[hit.to(places.device)]
    mutable = states[damaged, fixed_channels:].masked_fill(holes.to(states.device), 0)
    states[damaged, fixed_channels:] = mutable
