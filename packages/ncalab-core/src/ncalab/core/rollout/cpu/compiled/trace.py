"""What a rule computes, as the operations of torch that it consists of."""

from collections.abc import Iterator
from functools import lru_cache
from types import FunctionType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

# Numbers of cells that a rule is traced with: primes that are hardly ever the size of a layer.
CELLS = (211, 223, 227, 229)
# What class attributes and globals are read as.
PLAIN = (bool, int, float, str, tuple, list, dict)


class Call(NamedTuple):
    """An operation.

    Attributes:
        function: The operation.
        arguments: Its positional arguments.
        options: Its keyword arguments.
        result: What it returned.
    """

    function: Any
    arguments: tuple[Any, ...]
    options: dict[str, Any]
    result: Any

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
        self.calls.append(Call(func, tuple(args), kwargs or {}, result))
        return result


def trace(rule: nn.Module, inputs: int, dtype: torch.dtype) -> Trace | None:
    """Call a rule on some cells; None if its sizes cannot be told from the number of cells.

    Args:
        rule: Maps ``(1, inputs, N, 1)`` to ``(1, outputs, N, 1)``.
        inputs: Numbers that it gets for every cell.
        dtype: Floating-point type of its parameters.
    """
    sizes = {inputs, *(size for t in tensors_of(rule) for size in (*t.shape, t.numel()))}
    cells = next((n for n in CELLS if all(size == 0 or size % n for size in sizes)), None)
    if cells is None:
        return None
    # Numbers that differ: operations that look at values find nothing special.
    x = torch.linspace(-1, 1, inputs * cells, dtype=dtype).view(1, inputs, cells, 1)
    with torch.inference_mode(False), torch.no_grad(), _Recorder() as recorder:
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


def fingerprint(rule: nn.Module, dtype: torch.dtype) -> tuple[Any, ...]:
    """Return what changes with what a rule computes, besides the values of its tensors."""
    parts: list[Any] = [dtype]
    # Which tensors are one; another tensor in the place of one changes nothing.
    numbers: dict[int, int] = {}
    for part in rule.modules():
        parts += [id(part), type(part), type(part).forward, *_of_class(type(part))]
        for name, value in vars(part).items():
            if name in ("_parameters", "_buffers"):
                tensors = ((key, t) for key, t in value.items() if t is not None)
                parts += [(k, numbers.setdefault(id(t), len(numbers)), t.shape) for k, t in tensors]
            elif name == "_modules":
                parts += [(key, id(child)) for key, child in value.items()]
            elif isinstance(value, (Tensor, nn.Module)):
                parts.append((name, id(value)))
            else:
                parts.append((name, _described(value)))
    return tuple(parts)


def _of_class(kind: type) -> Iterator[Any]:
    """Yield what classes of the user's own and their methods read besides the instance."""
    for base in _own_bases(kind):
        for name, value in vars(base).items():
            if isinstance(value, PLAIN):
                yield name, repr(value)
            elif isinstance(value, FunctionType):
                yield name, id(value)
                read = (value.__globals__.get(n) for n in value.__code__.co_names)
                yield from (repr(v) for v in read if isinstance(v, PLAIN))


@lru_cache(maxsize=256)
def _own_bases(kind: type) -> list[type]:
    """Return those bases of a class that are not of this library, of torch or of Python."""
    known = ("ncalab", "torch", "abc", "builtins")
    return [base for base in kind.__mro__ if base.__module__.partition(".")[0] not in known]


def _described(value: Any) -> str:
    """Return what tells a value from another one, also where its class does not show it."""
    kind: Any = type(value)
    is_bare = kind.__repr__ is object.__repr__ and hasattr(value, "__dict__")
    return repr(vars(value)) if is_bare else repr(value)
