"""Registers of classes by name, so that a saved model can name what it is made of."""

import sys
from collections.abc import Callable
from typing import TypeVar

from ncalab.core.tracing import stands_for_module

Class = TypeVar("Class", bound=type)


def register_class(
    registry: dict[str, Class],
    cls: Class,
    *,
    kind: str,
    replaces: Callable[[Class], bool] = lambda _: False,
) -> None:
    """Enter a class under its name; one of the same module takes the place of its forerunner.

    A notebook may so define its class again.

    Args:
        registry: Known classes by name.
        cls: Class to enter, unless torch made it to record another one.
        kind: What it is a class of, for the message.
        replaces: Whether it may take the place of a class of another module.

    Raises:
        ValueError: If another module has a class of that name: files that name it would be loaded
            with the wrong one.

    >>> known: dict[str, type] = {}
    >>> register_class(known, dict, kind="mapping")
    >>> known
    {'dict': <class 'dict'>}
    """
    if stands_for_module(cls):
        return
    known = registry.get(cls.__name__)
    if known is not None and not (_have_one_source(known, cls) or replaces(known)):
        raise ValueError(
            f"name of a class must be its own, got {kind} {cls.__name__} of {cls.__module__}, and "
            f"{known.__module__} has one of that name: saved models name what they are made of, "
            "and would be loaded with the wrong one"
        )
    registry[cls.__name__] = cls


def _have_one_source(a: type, b: type) -> bool:
    if a.__module__ == b.__module__:
        return True
    # A script that is run and imported, too, is two modules.
    files = [getattr(sys.modules.get(cls.__module__), "__file__", None) for cls in (a, b)]
    return files[0] is not None and files[0] == files[1]
