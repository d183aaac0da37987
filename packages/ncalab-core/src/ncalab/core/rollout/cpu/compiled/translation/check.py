"""Comparison of a program with the rule that it was made of."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ncalab.core.rollout.cpu.compiled.interpret import interpret
from ncalab.core.rollout.cpu.compiled.program import Program
from ncalab.core.rollout.cpu.compiled.trace import tensors_of
from ncalab.core.rule.pointwise import small_values

# From small to large, as functions that cut off do nothing to some of them.
SCALES = (0.3, 0.3, 1.0, 1.0, 1.0, 3.0, 3.0, 5.0)


class _Tolerance(NamedTuple):
    """How far apart two ways to compute the same may be.

    Attributes:
        relative: Part of the norm of a row.
        rounding: Part of the largest norm: what is zero in exact arithmetic consists of rounding.
    """

    relative: float
    rounding: float


TOLERANCES = {
    torch.float64: _Tolerance(1e-6, 1e-11),
    torch.float32: _Tolerance(1e-4, 1e-6),
}


def agrees(program: Program, rule: nn.Module, inputs: int, dt: float, dtype: torch.dtype) -> bool:
    """Return whether a program has the values and the gradients of its rule on some cells.

    A trace does not show what a rule does to gradients (``torch.no_grad``, functions and hooks of
    autograd), nor numbers that it takes from its tensors. So both are computed with other values of
    its tensors, none of them zero: nothing has an effect behind an untrained layer.

    Args:
        program: The program.
        rule: Maps ``(1, inputs, N, 1)`` to updates ``(1, outputs, N, 1)``, cell by cell.
        inputs: Numbers that it gets for every cell.
        dt: What the program multiplies updates by.
        dtype: Floating-point type of the rule's parameters.
    """

    def call(tensors: Sequence[Tensor], cells: Tensor) -> Tensor:
        seen = cells.t()[None, ..., None].clone()
        updates: Tensor = functional_call(rule, dict(zip(named, tensors, strict=True)), (seen,))
        return dt * updates[0, ..., 0].t()

    own = tensors_of(rule)
    named = [name for name, _ in (*rule.named_parameters(), *rule.named_buffers())]
    trained = sum(1 for _ in rule.parameters())
    generator = torch.Generator().manual_seed(0)
    scales = torch.tensor(SCALES, dtype=torch.float64)[:, None]
    cells = scales * torch.randn(len(SCALES), inputs, generator=generator, dtype=torch.float64)
    moved = [_moved(tensor, generator) for tensor in own]
    # Without rounding, a difference is one; only what goes by the dtype needs that of the rule.
    for kind in dict.fromkeys((torch.float64, dtype)):
        given = [t.to(kind) if t.is_floating_point() else t for t in moved], cells.to(kind), trained
        with torch.inference_mode(False), torch.enable_grad():
            wanted = _values_and_slopes(call, *given)
            got = _values_and_slopes(partial(interpret, program), *given)
        pairs = zip(got, wanted, strict=True)
        if all(_are_close(*pair, TOLERANCES[kind]) for pair in pairs):
            return True
    return False


def _moved(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Return other values in float64, of the same signs; small ones where all are zero."""
    if not tensor.is_floating_point():
        return tensor.clone()
    values = tensor.detach().double()
    if not values.count_nonzero():
        return small_values(values, generator)
    drawn = torch.rand(values.shape, generator=generator, dtype=torch.float64)
    return values * (0.8 + 0.4 * drawn)


def _values_and_slopes(
    function: Callable[[Sequence[Tensor], Tensor], Tensor],
    tensors: Sequence[Tensor],
    cells: Tensor,
    trained: int,
) -> list[Tensor]:
    """Return updates, their gradients for each cell, and those of the first tensors joined."""
    leaves = [tensor.detach().clone() for tensor in tensors]
    seen = cells.clone().requires_grad_()
    wanted = [seen, *(t.requires_grad_() for t in leaves[:trained] if t.is_floating_point())]
    updates = function(leaves, seen)
    weights = torch.linspace(-1, 1, updates.numel(), dtype=updates.dtype).view_as(updates).cos()
    d_seen, *slopes = torch.autograd.grad(
        updates, wanted, weights, allow_unused=True, materialize_grads=True
    )
    return [updates.detach(), d_seen, *(slope.reshape(1, -1) for slope in slopes)]


def _are_close(got: Tensor, wanted: Tensor, tolerance: _Tolerance) -> bool:
    """Compare rows; nothing is close to what is not finite."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return False
    norms = wanted.norm(dim=1)
    allowed = tolerance.relative * norms + tolerance.rounding * (norms.max() if len(norms) else 0)
    return bool(((got - wanted).norm(dim=1) <= allowed).all())
