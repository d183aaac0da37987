"""Check that a rule keeps what ``pointwise = True`` promises."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ncalab.core.rule.base import AbstractNCARule

# What was found out, by training mode, dtype and its own numbers, as long as the rule lives.
_tested: "WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], str | None]]"
_tested = WeakKeyDictionary()

MANAGED = {"_parameters", "_buffers", "_modules"}
PLAIN = (bool, int, float, str)
GRID = (4, 3)
"""Cells of the grid that a rule is tested on."""


def why_not_pointwise(rule: nn.Module, dtype: torch.dtype = torch.float32) -> str | None:
    """Say why a rule may not be called on any set of cells; None if it may.

    A rule is tested once for each training mode, dtype and value of its flags and numbers, with its
    current parameters.

    Args:
        rule: The rule.
        dtype: Floating-point type of its parameters.

    Returns:
        The reason, as the end of a sentence.
    """
    name = type(rule).__name__
    if not isinstance(rule, AbstractNCARule) or not rule.pointwise:
        return f"the rule is a {name}, which does not declare pointwise = True"
    fault = find_fault(rule, rule.input_size, rule.output_size, dtype, part=rule)
    return None if fault is None else f"the rule is a {name}, {fault}"


def find_fault(
    function: nn.Module, inputs: int, outputs: int, dtype: torch.dtype, *, part: nn.Module
) -> str | None:
    """Say why a function of cells does not treat each cell by itself; None if it does.

    Args:
        function: Maps ``(B, inputs, W, H)`` to ``(B, outputs, W, H)``.
        inputs: Numbers that it gets for every cell.
        outputs: Numbers that it gives.
        dtype: Floating-point type of its parameters.
        part: What it is a function of; what is found is kept as long as that lives.
    """
    known = _tested.setdefault(part, {})
    plain = ((n, value) for n, value in vars(part).items() if type(value) in PLAIN)
    key = (function.training, dtype, *plain)
    if key not in known:
        known[key] = _test(function, inputs, outputs, dtype)
    found: str | None = known[key]
    return found


def _test(function: nn.Module, inputs: int, outputs: int, dtype: torch.dtype) -> str | None:
    tensors = [*function.parameters(), *function.buffers()]
    try:
        deepcopy(function, {id(tensor): tensor for tensor in tensors})
    except Exception as error:  # whatever an attribute raises
        return f"of which threads cannot have copies: {error}"
    try:
        with _random_state_kept(), _attributes_kept(function):
            return _compare(function, inputs, outputs, dtype)
    except Exception as error:  # the reference engine calls it in another way, or raises this again
        return f"which raises {type(error).__name__} on cells of a test: {error}"


def _compare(function: nn.Module, inputs: int, outputs: int, dtype: torch.dtype) -> str | None:
    generator = torch.Generator().manual_seed(0)
    tensors = [*function.parameters(), *function.buffers()]
    device = tensors[0].device if tensors else None
    # Two samples; the first of them is what all is compared with.
    both = torch.randn(2, inputs, *GRID, generator=generator, dtype=dtype).to(device)
    x = both[:1].clone()
    awake = {name: _awake(value, generator) for name, value in function.named_parameters()}
    before = dict(function.named_buffers())
    buffers = {name: value.clone() for name, value in before.items()}

    def call(x: Tensor) -> Tensor:
        updates: Tensor = functional_call(function, {**awake, **buffers}, (x,))
        return updates

    with torch.enable_grad():
        whole = call(x)
    # After a first call, which may prepare something.
    attributes = _attributes(function)
    if whole.shape != (1, outputs, *GRID):
        return f"whose updates of a grid have the shape {tuple(whole.shape)}"
    if whole.dtype != dtype:
        return f"whose updates have the dtype {whole.dtype} for parameters of {dtype}"
    if whole.requires_grad:
        return "whose updates depend on trained tensors that are not its parameters"
    if not torch.equal(x, both[:1]):
        return "which changes in place what it is called with"
    with torch.no_grad():
        if not torch.equal(call(x), whole):
            return "which gives other updates for the same cells (dropout, or statistics?)"
        cells = x.flatten(2)[..., None]
        parts = torch.cat([call(part) for part in cells.split(5, dim=2)], dim=2)
        together = call(both)
    if not _close(parts.view_as(whole), whole):
        return "whose updates of a cell depend on other cells"
    if not _close(together[:1], whole):
        return "whose updates of a sample depend on other samples"
    if any(not torch.equal(value, before[name]) for name, value in buffers.items()):
        return "which changes its buffers"
    if name := _changed(function, attributes):
        return f"which changes its attribute {name}"
    return None


def small_values(like: Tensor, generator: torch.Generator) -> Tensor:
    """Draw weights of the shape, dtype and device of others, as an untrained layer has them.

    >>> small_values(torch.zeros(0, 3), torch.Generator()).shape
    torch.Size([0, 3])
    """
    inputs = like[0].numel() if like.ndim and len(like) else 1
    drawn = torch.randn(like.shape, generator=generator).to(like)
    return drawn.div(max(1, inputs) ** 0.5)


def _awake(value: Tensor, generator: torch.Generator) -> Tensor:
    """Return a parameter, or small values where it is all zero: such a rule computes nothing."""
    return value.detach() if value.count_nonzero() else small_values(value, generator)


def _attributes(function: nn.Module) -> list[dict[str, Any]]:
    """Return attributes of a function and its parts, without what torch manages."""
    return [
        {name: value for name, value in vars(part).items() if name not in MANAGED}
        for part in function.modules()
    ]


def _changed(function: nn.Module, before: list[dict[str, Any]]) -> str | None:
    """Name an attribute that is another object than before, or another number."""
    for old, new in zip(before, _attributes(function), strict=True):
        for name in old.keys() | new.keys():
            one, other = old.get(name), new.get(name)
            is_number = type(one) in PLAIN and type(one) is type(other)
            if one is not other and not (is_number and one == other):
                return name
    return None


@contextmanager
def _attributes_kept(function: nn.Module) -> Iterator[None]:
    """Undo what a rule does to its attributes."""
    parts = list(function.modules())
    before = _attributes(function)
    try:
        yield
    finally:
        for part, old in zip(parts, before, strict=True):
            own = vars(part)
            for name in own.keys() - old.keys() - MANAGED:
                del own[name]
            own.update(old)


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Undo what a rule that draws numbers does to torch's default generator."""
    before = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(before)


def _close(a: Tensor, b: Tensor) -> bool:
    tolerance = 100 * torch.finfo(b.dtype).eps * max(1.0, b.abs().max().item())
    return bool(((a - b).abs() <= tolerance).all())
