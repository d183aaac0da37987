"""What a rule computes, as the operations of torch that it consists of."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Numbers of cells that a rule is traced with: primes that are hardly ever the size of a layer.
CELLS = (211, 223, 227, 229)


class Call(NamedTuple):
    """An operation.

    Attributes:
        function: The operation.
        arguments: Its positional arguments.
        options: Its keyword arguments.
        result: What it returned.
        is_hidden: Whether it is given what gradients are wanted of, where autograd is off: within
            ``torch.no_grad``, or a function with gradients of its own.
    """

    function: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any
    is_hidden: bool

    @property
    def name(self) -> str:
        """What torch calls the operation, without its overload."""
        return str(self.function.overloadpacket.__name__)


class Trace(NamedTuple):
    """A call of a rule.

    Attributes:
        cells: How many cells it was called with.
        x: What they perceive, shape ``(1, P, cells, 1)``.
        calls: The operations, in their order.
        result: What it returned.
    """

    cells: int
    x: Tensor
    calls: list[Call]
    result: Tensor


class _Recorder(TorchDispatchMode):
    """Notes all operations; tensors that stand in it stay alive, so that no two share an id."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self.calls: list[Call] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        del types
        result = func(*args, **(kwargs or {}))
        given = tensors_in((args, kwargs or {}))
        is_hidden = not torch.is_grad_enabled() and any(t.requires_grad for t in given)
        self.calls.append(Call(func, tuple(args), kwargs or {}, result, is_hidden))
        return result


def trace(
    rule: nn.Module, inputs: int, dtype: torch.dtype, *, with_gradients: bool = False
) -> Trace | None:
    """Call a rule on some cells; None if its sizes cannot be told from the number of cells.

    Args:
        rule: Maps ``(1, inputs, N, 1)`` to ``(1, outputs, N, 1)``.
        inputs: Numbers that it gets for every cell.
        dtype: Floating-point type of its parameters.
        with_gradients: Whether autograd is on, which adds operations of its own.
    """
    sizes = {inputs, *(size for t in tensors_of(rule) for size in (*t.shape, t.numel()))}
    cells = next((n for n in CELLS if all(size == 0 or size % n for size in sizes)), None)
    if cells is None:
        return None
    # Numbers that differ: operations that look at values find nothing special.
    with torch.inference_mode(False), torch.set_grad_enabled(with_gradients):
        x = torch.linspace(-1, 1, inputs * cells, dtype=dtype, requires_grad=with_gradients)
        # No leaf, so that a rule may change it in place.
        x = x.view(1, inputs, cells, 1).clone()
        with _Recorder() as recorder:
            result = rule(x)
    return Trace(cells, x, recorder.calls, result)


def tensors_of(rule: nn.Module) -> list[Tensor]:
    """Return parameters and buffers of a rule."""
    return [*rule.parameters(), *rule.buffers()]


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors among arguments or results."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, (list, tuple)):
        for part in value:
            yield from tensors_in(part)
    elif isinstance(value, dict):
        yield from tensors_in(list(value.values()))


def replaced(value: Any, others: dict[int, Tensor]) -> Any:
    """Return arguments with other tensors, by the ids of those that they take the place of."""
    if isinstance(value, Tensor):
        return others[id(value)]
    if isinstance(value, (list, tuple)):
        return type(value)(replaced(part, others) for part in value)
    if isinstance(value, dict):
        return {name: replaced(part, others) for name, part in value.items()}
    return value
