"""Functions that torch.compile leaves as they are."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import torch

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def outside_of_graphs(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Run a function as it is where what calls it is compiled.

    It does what ``torch.compiler.disable`` does, which imports the compiler, and so takes seconds,
    even where nothing is ever compiled.

    >>> @outside_of_graphs
    ... def double(x):
    ...     return 2 * x
    >>> double(4)
    8
    """
    disabled: list[Callable[Arguments, Result]] = []

    @wraps(function)
    def call(*arguments: Arguments.args, **options: Arguments.kwargs) -> Result:
        if not torch.compiler.is_compiling():
            return function(*arguments, **options)
        if not disabled:
            disabled.append(torch.compiler.disable(function))
        return disabled[0](*arguments, **options)

    return call
