"""Settings against the signature of what they are for."""

import difflib
import inspect
import json
import types
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

_KINDS = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_NAMES = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    type(None): "null",
}


@dataclass(frozen=True)
class Setting:
    """One setting: what it may be, and whether it has to be there."""

    annotation: Any
    required: bool


def settings_of(target: Callable[..., Any], *, without: Collection[str] = ()) -> dict[str, Setting]:
    """Return the arguments of a function or class as settings.

    Args:
        target: Function or class; of one that passes ``**kwargs`` on to its base class, that
            one's arguments, too.
        without: Names of arguments that are not settings.

    >>> list(settings_of(divmod)), settings_of(lambda steps=3: 0)["steps"].required
    (['x', 'y'], False)
    """
    settings: dict[str, Setting] = {}
    for function in _constructors(target) if isinstance(target, type) else [target]:
        parameters = list(inspect.signature(function).parameters.values())
        hints = _hints(function)
        for parameter in parameters:
            if parameter.name in {"self", *without, *settings} or parameter.kind in _KINDS:
                continue
            annotation = hints.get(parameter.name, parameter.annotation)
            required = parameter.default is inspect.Parameter.empty
            settings[parameter.name] = Setting(_plain(annotation), required)
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
            break  # what it takes is not passed on by name
    return settings


def _constructors(target: type) -> list[Callable[..., Any]]:
    owners = (owner for owner in target.__mro__ if owner is not object)
    return [vars(owner)["__init__"] for owner in owners if "__init__" in vars(owner)]


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Resolve annotations that are text; those that name what is not imported stay as they are."""
    try:
        return get_type_hints(function)
    except (NameError, TypeError):
        return {}


def _plain(annotation: Any) -> Any:
    """Return the type of a setting as data: a class is given by its name."""
    if annotation is inspect.Parameter.empty or isinstance(annotation, str):
        return Any
    return str if get_origin(annotation) is type else annotation


def check_settings(
    place: str, values: Mapping[str, Any], settings: Mapping[str, Setting], label: str
) -> dict[str, Any]:
    """Check values against settings, and convert them: lists to tuples, for example.

    Args:
        place: Section, as errors name it; "" for the top of the file.
        values: The values, as read from TOML or JSON.
        settings: What they may be.
        label: What they are settings of.

    Returns:
        The converted values.

    Raises:
        ValueError: If one is unknown, missing, or of another type.

    >>> check_settings("pool", {"n_seeds": 1}, {"n_seed": Setting(int, False)}, "Pool")
    Traceback (most recent call last):
    ValueError: pool.n_seeds is not a setting of Pool; did you mean n_seed?
    """
    prefix = f"{place}." if place else ""
    for name in values:
        if name not in settings:
            hint = did_you_mean(name, settings)
            raise ValueError(f"{prefix}{name} is not a setting of {label}{hint}")
    for name, setting in settings.items():
        if setting.required and name not in values:
            wanted = name_of(setting.annotation)
            raise ValueError(f"{prefix}{name} must be given for {label} ({wanted}), got nothing")
    return {
        name: check_value(f"{prefix}{name}", value, settings[name].annotation)
        for name, value in values.items()
    }


def check_value(place: str, value: Any, annotation: Any) -> Any:
    """Return a value as its annotation has it; a table becomes the dataclass that it may be.

    Raises:
        ValueError: If it is of another type, or the dataclass refuses it.

    >>> check_value("model.training_timesteps", [64, 96], int | tuple[int, int])
    (64, 96)
    """
    if annotation is Any:
        return value
    if isinstance(value, Mapping) and (kind := _dataclass_in(annotation)) is not None:
        settings = check_settings(place, value, settings_of(kind), kind.__name__)
        with placed(place):
            return kind(**settings)
    try:
        # As JSON: lists may be tuples there, but text is not a number, and neither is true.
        return TypeAdapter(annotation).validate_json(json.dumps(value, default=str), strict=True)
    except ValidationError:
        raise ValueError(f"{place} must be {name_of(annotation)}, got {value!r:.80}") from None


def _dataclass_in(annotation: Any) -> type | None:
    """Return the dataclass that an annotation is, or that is one of its choices; None if none."""
    choices = (annotation, *get_args(annotation))
    return next((each for each in choices if isinstance(each, type) and is_dataclass(each)), None)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a hint at the most similar names, or at all of a few.

    >>> did_you_mean("colour", ["color", "size"]), did_you_mean("zzz", ["a", "b"])
    ('; did you mean color?', ' (known: a, b)')
    """
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]}?"
    return f" (known: {', '.join(known)})"


def check_name(place: str, value: Any, known: Collection[str]) -> str:
    """Return a name if it is a known one.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(value, str) or value not in known:
        hint = did_you_mean(value if isinstance(value, str) else "", known)
        raise ValueError(f"{place} must be the name of a known class, got {value!r:.80}{hint}")
    return value


def name_of(annotation: Any) -> str:
    """Describe a type to somebody who writes settings.

    >>> name_of(int | tuple[int, int]), name_of(Literal["a", "b"] | None)
    ('a whole number or a list of 2 (a whole number, a whole number)', "one of 'a', 'b'")
    """
    origin, inner = get_origin(annotation), get_args(annotation)
    if annotation in _NAMES:
        return _NAMES[annotation]
    if origin in (Union, types.UnionType):
        names = [name_of(each) for each in inner if each is not type(None)]
        return " or ".join(dict.fromkeys(names))
    if origin is Literal:
        return f"one of {', '.join(map(repr, inner))}"
    if origin is tuple and Ellipsis not in inner:
        return f"a list of {len(inner)} ({', '.join(map(name_of, inner))})"
    if origin in (list, tuple) or (isinstance(origin, type) and issubclass(origin, Sequence)):
        return f"a list, each {name_of(inner[0])}" if inner else "a list"
    if annotation is dict or origin is dict:
        return "a table"
    name: str = getattr(annotation, "__name__", str(annotation))
    return f"a table of arguments of {name}" if is_dataclass(annotation) else name


@contextmanager
def placed(section: str) -> Iterator[None]:
    """Say in errors which section is wrong: model.fire_rate must be..., not fire_rate must be..."""
    try:
        yield
    except (ValueError, TypeError) as error:
        text = str(error)
        joined = f"{section}.{text}" if text.split(" ")[1:2] == ["must"] else f"{section}: {text}"
        raise ValueError(joined) from error
