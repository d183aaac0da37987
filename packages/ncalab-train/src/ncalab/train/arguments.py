"""Check arguments of trainers, and of calls that are made later on, many times."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ncalab.core.checks import check_number


def check_decays(name: str, values: Any) -> None:
    """Raise a ValueError unless all values are factors of a decaying average, in [0, 1)."""
    for value in values:
        check_number(name, value)
        if not 0 <= value < 1:
            raise ValueError(f"{name} must be in [0, 1), got {value}")


def check_betas(value: Any) -> None:
    """Raise unless a value is a pair of factors, each in [0, 1)."""
    if not isinstance(value, tuple | list) or len(value) != 2:
        raise TypeError(f"adam_betas must be a pair of numbers, got {value!r}")
    check_decays("adam_betas", value)


def check_share(name: str, value: Any, *, is_open: bool = False) -> float:
    """Return a share of at most 1 if it is one.

    Args:
        name: Name of the argument.
        value: Its value.
        is_open: Whether it must be above 0.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is out of range.
    """
    number = float(check_number(name, value))
    if not 0 <= number <= 1 or (is_open and number == 0):
        raise ValueError(f"{name} must be in {'(0' if is_open else '[0'}, 1], got {value}")
    return number


def check_arguments(
    name: str, function: Callable[..., Any], arguments: Mapping[str, Any], *first: Any
) -> None:
    """Raise unless a function or class can be called with these arguments.

    Args:
        name: What to call them in the error.
        function: Function or class; if it passes ``**kwargs`` on, to its base class.
        arguments: Keyword arguments.
        *first: Positional arguments before them.

    Raises:
        ValueError: If a name is unknown or given twice, or one is missing.

    >>> check_arguments("options", divmod, {"z": 2}, 5)
    Traceback (most recent call last):
    ValueError: options must be arguments of divmod, missing a required argument: 'y'
    """
    label = getattr(function, "__name__", str(function))
    try:
        inspect.signature(function).bind(*first, **arguments)
    except TypeError as error:
        raise ValueError(f"{name} must be arguments of {label}, {error}") from None
    known = _accepted(function)
    if known is not None and (unknown := sorted(set(arguments) - known)):
        raise ValueError(f"{name} must be arguments of {label}, got unknown {unknown}")


def _accepted(function: Callable[..., Any]) -> set[str] | None:
    """Return the names that a class takes, those of base classes included; None if unknown."""
    if not isinstance(function, type):
        return None
    names: set[str] = set()
    for owner in function.__mro__:
        if "__init__" not in vars(owner) or owner is object:
            continue
        parameters = inspect.signature(owner).parameters.values()
        names |= {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
        if all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return names
    return None
