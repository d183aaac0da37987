"""Tracing: recording a model for grids of any size instead of running it on one."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

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

    >>> stands_for_module(dict)
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
