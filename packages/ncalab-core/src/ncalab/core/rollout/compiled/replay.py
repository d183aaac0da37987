"""The steps of a compiled rollout as operations that autograd records."""

from collections.abc import Callable, Sequence

import torch
import torch.utils.checkpoint
from torch import Tensor

from ncalab.core.alive import alive_mask
from ncalab.core.padding import pad_cells
from ncalab.core.rollout.compiled.spec import Spec, Views
from ncalab.core.step import change


def replay(
    spec: Spec,
    segment: int | None,
    x: Tensor,
    factors: Tensor,
    rule: Callable[[Tensor, int], Tensor],
) -> Tensor:
    """Run the steps of a rollout.

    Args:
        spec: The rollout.
        segment: Steps between the states that are kept for the backward pass; None to keep
            everything.
        x: States, shape ``(B, C, *grid)``.
        factors: Factors of the taps, shape ``(taps, C)``.
        rule: Maps perceptions ``(B, (1 + n) C, *grid)``, and the number of a step from the start
            of the rollout, to updates ``(B, C, *grid)``.

    Returns:
        States after the last step, shape ``(B, C, *grid)``.
    """

    def run(x: Tensor, first: int, last: int) -> Tensor:
        for step in range(first, last):
            update = rule(see(x, spec, factors), step)
            fires = spec.clock.mask(spec.clock.start + step, *x.shape[2:])
            alive = alive_mask if spec.use_alive_mask else None
            x = change(x, update, fires, first=spec.first_mutable, alive=alive)
        return x

    if segment is None:
        return run(x, 0, spec.steps)
    for first in range(0, spec.steps, segment):
        last = min(first + segment, spec.steps)
        x = torch.utils.checkpoint.checkpoint(run, x, first, last, use_reentrant=False)
    return x


def see(x: Tensor, spec: Spec, factors: Tensor) -> Tensor:
    """Return the perceptions of all cells, shape ``(B, (1 + n) C, *grid)``."""
    padded = pad_cells(x, spec.radius, spec.padding)
    seen = [x]
    for view in range(spec.views.count):
        taps = range(spec.views.taps[view], spec.views.taps[view + 1])
        seen.append(_view(padded, x, spec.radius, spec.views, factors, taps))
    return torch.cat(seen, dim=1)


def _view(
    padded: Tensor, x: Tensor, radius: int, views: Views, factors: Tensor, taps: Sequence[int]
) -> Tensor:
    """Return one view: the sum of neighbours, each times its factors."""
    total = torch.zeros_like(x)
    shape = (-1, *[1] * (x.ndim - 2))
    for tap in taps:
        neighbour = padded
        for axis, distance in enumerate(views.places[tap], start=2):
            neighbour = neighbour.narrow(axis, radius + distance, x.shape[axis])
        total = total + neighbour * factors[tap].view(shape)
    return total
