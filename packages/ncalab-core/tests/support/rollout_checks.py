"""What tests of the engines measure of a rollout, and compare."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from core_models import TinyModel
from torch import Tensor

from ncalab.core.rollout import rollout


@contextmanager
def threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def states_and_slopes(model: TinyModel, x: Tensor, steps: int, **options: Any) -> list[Tensor]:
    x = x.clone().requires_grad_()
    after = rollout(model, x, steps, seed=4, **options)
    weights = torch.linspace(-1, 1, after.numel(), dtype=after.dtype).view_as(after)
    wanted = [x, *(p for p in model.parameters() if p.requires_grad)]
    return [after.detach(), *torch.autograd.grad((after * weights).sum(), wanted)]


def slopes_where_used(model: TinyModel, x: Tensor, engine: Any) -> list[Tensor]:
    x = x.clone().requires_grad_()
    after = rollout(model, x, 3, seed=4, engine=engine)
    weights = torch.linspace(-1, 1, after.numel(), dtype=after.dtype).view_as(after)
    wanted = [x, *model.parameters()]
    loss = (after * weights).sum()
    return [
        after.detach(),
        *torch.autograd.grad(loss, wanted, allow_unused=True, materialize_grads=True),
    ]


def assert_threads_agree(alone: Sequence[Tensor], shared: Sequence[Sequence[Tensor]]) -> None:
    """Compare states and gradients of one thread with those of two runs of several."""
    # States to the bit; sums over cells are added in another order where a sample is cut.
    assert torch.equal(alone[0], shared[0][0])
    for one, two in zip(alone[1:], shared[0][1:], strict=True):
        assert (one - two).norm() <= 1e-5 * one.norm()
    for first, second in zip(*shared, strict=True):
        assert torch.equal(first, second)


def assert_gradients_agree(
    got: Sequence[Tensor], want: Sequence[Tensor], *, relative: float, rounding: float
) -> None:
    """Compare gradients by their norms.

    Args:
        got: Gradients.
        want: Those of the reference.
        relative: How far each may be from its reference, as a part of that.
        rounding: Part of the largest gradient that is rounding: what is zero in exact arithmetic,
            such as the gradient of queries whose neighbours are all alike, consists of it.
    """
    largest = max(float(slope.norm()) for slope in want)
    for one, other in zip(got, want, strict=True):
        distance, norm = float((one - other).norm()), float(other.norm())
        assert distance <= relative * norm + rounding * largest, (distance, norm, largest)
