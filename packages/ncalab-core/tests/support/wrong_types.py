"""Values of other types than a constructor's annotations allow, argument by argument."""

import inspect
import math
import os
import re
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
import torch


class Thing:
    """Something that no argument takes."""

    def __repr__(self) -> str:
        return "thing"


VALUES: list[Any] = ["text", None, True, 7, 0.5, math.nan, Thing(), [Thing()], Thing]


def accepts(annotation: Any, value: Any) -> bool:
    """Say whether a value is of an annotated type; a bool is not a number, and NaN is none."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return True
    if annotation is None or annotation is types.NoneType:
        return value is None
    if origin in (Union, types.UnionType):
        return any(accepts(each, value) for each in arguments)
    if origin is Literal:
        return any(value is each for each in arguments)
    if annotation in (int, float):
        kinds = (int,) if annotation is int else (int, float)
        return type(value) in kinds and not math.isnan(value)
    if annotation is torch.device:
        # Of an accelerator, torch takes the number.
        return type(value) is int or isinstance(value, torch.device)
    if annotation is os.PathLike or origin is os.PathLike:
        return isinstance(value, str | os.PathLike)
    if origin is type:
        return isinstance(value, type) and issubclass(value, arguments[0])
    if origin is Callable or annotation is Callable:
        return callable(value)
    if origin is None:
        return isinstance(value, annotation)
    return _container_accepts(origin, arguments, value)


def _container_accepts(origin: Any, arguments: tuple[Any, ...], value: Any) -> bool:
    if not isinstance(value, origin) or isinstance(value, str):
        return False
    if isinstance(value, Mapping):
        return True
    inner = [each for each in arguments if each is not Ellipsis]
    if origin is tuple and Ellipsis not in arguments and len(value) != len(inner):
        return False
    return all(accepts(inner[0], each) for each in value) if inner else True


def _constructors(target: type) -> Iterator[Any]:
    """Yield the constructors that take a class's arguments, those of ``**kwargs`` included."""
    for owner in target.__mro__:
        if "__init__" in vars(owner) and owner is not object:
            yield vars(owner)["__init__"]
            parameters = inspect.signature(vars(owner)["__init__"]).parameters.values()
            if all(p.kind is not p.VAR_KEYWORD for p in parameters):
                return


def annotations_of(target: type) -> dict[str, Any]:
    """Return the annotated arguments of a class, by name; those of unknown names are left out."""
    found: dict[str, Any] = {}
    fixed: frozenset[str] = getattr(target, "fixed_arguments", frozenset())
    for function in _constructors(target):
        for name, parameter in inspect.signature(function).parameters.items():
            if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            if name != "self" and name not in found and name not in fixed:
                found[name] = _resolved(function, name)
    return {name: annotation for name, annotation in found.items() if annotation is not None}


def _resolved(function: Any, name: str) -> Any:
    """Return an annotation; None for one of a package that is imported for types only."""
    own = types.SimpleNamespace(__annotations__={name: function.__annotations__.get(name, Any)})
    try:
        return get_type_hints(own, function.__globals__)[name]
    except NameError:
        return None


def wrong_arguments(
    targets: Mapping[type, Callable[[], dict[str, Any]]], *, also: Mapping[str, Any] | None = None
) -> list[Any]:
    """List every argument of every class with every value of another type.

    Args:
        targets: Classes, and what returns valid arguments of each, the required ones at least.
        also: Annotations of arguments, by name, that cannot be read from the class.

    Returns:
        Parameters (class, valid arguments, name of the wrong one, wrong value) for pytest.
    """
    cases = []
    for target, valid in targets.items():
        named = annotations_of(target)
        own = inspect.signature(target).parameters
        named |= {name: kind for name, kind in (also or {}).items() if name in own}
        for name, annotation in named.items():
            cases += [
                pytest.param(target, valid, name, value, id=f"{target.__name__}-{name}-{value!r}")
                for value in VALUES
                if not accepts(annotation, value)
            ]
    return cases


def assert_refused(target: type, arguments: dict[str, Any], name: str, value: Any) -> None:
    """Raise unless a class refuses a value at construction, and names the argument and the rule."""
    with pytest.raises((TypeError, ValueError)) as caught:
        target(**{**arguments, name: value})
    text = str(caught.value)
    assert re.match(rf"{name}(\[\d+\])? (must|of )", text), text


def public_classes(module: Any) -> set[type]:
    """Return the classes that a package lists in ``__all__`` and that take arguments."""
    named = (getattr(module, name) for name in module.__all__)
    classes = {each for each in named if inspect.isclass(each) and not inspect.isabstract(each)}
    return {each for each in classes if annotations_of(each)}
