"""Checks of the arguments that all data sets have."""

import os
from collections.abc import Mapping
from numbers import Integral
from typing import Any

from ncalab.core.argument_types import check_callable, check_path, check_types
from ncalab.core.checks import check_type

FILE_NAMES = (str, os.PathLike)
INDICES = (str, Integral)


def check_data_arguments(
    path: Any,
    files: Any,
    transform: Any,
    *,
    kinds: tuple[type, ...] = FILE_NAMES,
    names: Mapping[str, Any] | None = None,
) -> None:
    """Raise a TypeError unless a data set can be looked for where it is said to be.

    Args:
        path: File or folder.
        files: Which samples to take, or None.
        transform: A function, or None.
        kinds: What ``files`` may hold.
        names: Names of folders and parts of file names, by argument.

    >>> check_data_arguments("data", ["a.png", 3], None)
    Traceback (most recent call last):
    TypeError: files must be a sequence of str or PathLike or None, got int in it
    """
    check_path("path", path)
    # One name instead of several: each data set says what it takes.
    if not isinstance(files, str):
        check_types("files", files, kinds, optional=True)
    check_callable("transform", transform, optional=True)
    for name, value in (names or {}).items():
        check_type(name, value, str)


def check_least(data: Any, least: Mapping[str, int]) -> None:
    """Raise unless settings of data in a settings file are large enough; None passes.

    Args:
        data: Object with a setting in each attribute.
        least: Smallest value of each, by name.

    >>> from types import SimpleNamespace
    >>> check_least(SimpleNamespace(size=0, page=None), {"size": 1, "page": 0})
    Traceback (most recent call last):
    ValueError: data.size must be at least 1, got 0
    """
    for name, smallest in least.items():
        value = getattr(data, name)
        if value is not None and value < smallest:
            raise ValueError(f"data.{name} must be at least {smallest}, got {value}")
