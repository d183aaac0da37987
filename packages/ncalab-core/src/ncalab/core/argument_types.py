"""Checks of the types of arguments at the public edge: each names argument, rule and value."""

import math
import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from pathlib import Path
from typing import Any

from ncalab.core.checks import check_number


def _kind(value: Any) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def check_types(
    name: str, values: Any, kind: type | tuple[type, ...], *, optional: bool = False
) -> None:
    """Raise a TypeError unless values are a sequence, array or tensor of a type; text is none.

    >>> check_types("class_names", "cat", str)
    Traceback (most recent call last):
    TypeError: class_names must be a sequence of str, got str
    """
    if optional and values is None:
        return
    kinds = kind if isinstance(kind, tuple) else (kind,)
    listed = values.tolist() if hasattr(values, "tolist") else values
    found = _kind(values)
    if isinstance(listed, Sequence) and not isinstance(listed, str | bytes):
        wrong = [value for value in listed if not _is_any(value, kinds)]
        if not wrong:
            return
        found = f"{_kind(wrong[0])} in it"
    wanted = " or ".join([each.__name__ for each in kinds] + (["None"] if optional else []))
    raise TypeError(f"{name} must be a sequence of {wanted}, got {found}")


def _is_any(value: Any, kinds: tuple[type, ...]) -> bool:
    """Return whether a value is of one of some types; True and False are not numbers."""
    return isinstance(value, kinds) and not (isinstance(value, bool) and bool not in kinds)


def check_mapping(name: str, value: Any, *, optional: bool = False) -> None:
    """Raise a TypeError unless a value is a dictionary of names."""
    if optional and value is None:
        return
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        none = " or None" if optional else ""
        raise TypeError(f"{name} must be a dict of names{none}, got {_kind(value)}")


def check_callable(name: str, value: Any, *, optional: bool = False) -> None:
    """Raise a TypeError unless a value can be called; or is None, if it is optional."""
    if not callable(value) and not (optional and value is None):
        none = " or None" if optional else ""
        raise TypeError(f"{name} must be callable{none}, got {value!r:.80}")


def check_integer(name: str, value: Any) -> int:
    """Return a value as an int of any sign.

    Raises:
        TypeError: If it is not an integer; True and False are none.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r:.80}")
    return int(value)


def check_optional_integer(name: str, value: Any) -> int | None:
    """Return a value as an int of any sign, or None.

    Raises:
        TypeError: If it is neither; True and False are not.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer or None, got {value!r:.80}")
    return int(value)


def check_positive(name: str, value: Any) -> float:
    """Return a number above 0.

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is 0, negative, infinite or NaN.
    """
    check_number(name, value)
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be above 0 and finite, got {value}")
    return float(value)


def check_path(name: str, value: Any) -> Path:
    """Return a path.

    Raises:
        TypeError: If the value is neither text nor a path.

    >>> check_path("model_path", 3)
    Traceback (most recent call last):
    TypeError: model_path must be a path, got 3
    """
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f"{name} must be a path, got {value!r:.80}")
    return Path(value)
