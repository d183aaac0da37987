"""How a model is recorded, for grids of any size, instead of run on one."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from ncalab.core.model import AbstractNCAModel

_tracing: ContextVar[bool] = ContextVar("ncalab_tracing", default=False)


def is_tracing() -> bool:
    """Return whether a model is being recorded, as :mod:`ncalab.core.export` does it.

    Sizes are symbols then, and the number of a step is a tensor: code that looks at either must
    leave the decision to operations on tensors.

    >>> is_tracing()
    False
    """
    return _tracing.get()


def stands_for_module(cls: type) -> bool:
    """Return whether a class is one that torch makes while it records, named as what it replaces.

    Registries must not take it for the real one.

    >>> stands_for_module(ExportPlan)
    False
    """
    return any(base.__module__.startswith("torch.fx.") for base in cls.__mro__)


@contextmanager
def tracing() -> Iterator[None]:
    """Make :func:`is_tracing` true in this thread for a while."""
    token = _tracing.set(True)
    try:
        yield
    finally:
        _tracing.reset(token)


def _stay(place: int, state: Tensor, x: Tensor) -> Tensor:  # noqa: ARG001 - for those who move
    return state


def _finish(state: Tensor, x: Tensor) -> Tensor:  # noqa: ARG001
    return state


def _all_steps(steps: Tensor) -> list[Tensor]:
    return [steps]


@dataclass(frozen=True)
class ExportPlan:
    """A rollout, or a chain of them, made of operations on tensors only.

    Args:
        models: Models whose steps are taken, in this order; one may occur several times.
        enter: From (place in ``models``, state, first state of all) to the state that the
            rollout of that place starts from.
        leave: From (state, first state of all) to the state at the end.
        share: From the number of steps, shape ``()``, int64, to that of each place.
    """

    models: Sequence["AbstractNCAModel"]
    enter: Callable[[int, Tensor, Tensor], Tensor] = _stay
    leave: Callable[[Tensor, Tensor], Tensor] = _finish
    share: Callable[[Tensor], list[Tensor]] = _all_steps
