"""Packages that only some users need."""

from importlib import import_module
from types import ModuleType


def require(name: str, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        name: What to import.
        extra: Extra of this package that brings it.

    Returns:
        The module.

    Raises:
        ImportError: If it is not installed; says what to type.

    >>> require("no_such_package", "onnx")
    Traceback (most recent call last):
    ImportError: no_such_package is not installed; it comes with the extra onnx of ncalab-core
    (from a clone: pip install "./packages/ncalab-core[onnx]")
    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".")[0]:
            raise  # it is there, but something that it needs is not
        raise ImportError(
            f"{error.name} is not installed; it comes with the extra {extra} of ncalab-core "
            f'(from a clone: pip install "./packages/ncalab-core[{extra}]")'
        ) from error
