"""JSON that is read with distrust: what is wrong in it is named, with its file, key and rule."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ncalab.core.files import PathLike


class Rule(NamedTuple):
    """Rule that a value must follow.

    Attributes:
        text: How an error names it.
        holds: Whether a value is that.
    """

    text: str
    holds: Callable[[Any], bool]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_number_or_null(value: Any) -> bool:
    return value is None or _is_number(value)


def _is_curve(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_is_number_or_null, value))


def _all_values(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, Mapping) and all(map(holds, value.values()))


COUNT = Rule(
    "a whole number of at least 0",
    lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
)
NUMBER_OR_NULL = Rule("a number or null", _is_number_or_null)
FLAG = Rule("true or false", lambda value: isinstance(value, bool))
TEXT = Rule("a string", lambda value: isinstance(value, str))
OBJECT = Rule("an object", lambda value: isinstance(value, Mapping))
CURVE = Rule("a list of numbers or nulls", _is_curve)
NUMBERS = Rule("an object of numbers or nulls", _all_values(_is_number_or_null))
CURVES = Rule("an object of lists of numbers or nulls", _all_values(_is_curve))


def read_json(path: PathLike) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file holds anything else.
    """
    return parse_json(path, Path(path).read_bytes())


def parse_json(path: PathLike, content: bytes | str) -> dict[str, Any]:
    """Return the JSON object that the content of a file is.

    Args:
        path: File, for the error.
        content: UTF-8, with or without a byte order mark, or text.

    Raises:
        ValueError: If it is anything else.

    >>> parse_json("config.json", b'{"steps": 3}')
    {'steps': 3}
    >>> parse_json("config.json", b"[3]")
    Traceback (most recent call last):
    ValueError: config.json must hold a JSON object, got [3]
    """
    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # of bytes and of text
        raise ValueError(f"{path} must be JSON in UTF-8: {error}") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path} must hold a JSON object, got {data!r:.80}")
    return data


def check_fields(path: PathLike, data: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Raise unless an object that was read from a file has values of the right kinds.

    Args:
        path: File, for the error.
        data: What was read.
        rules: What each of the keys must hold. A key "a.b" is "b" of the object at "a".

    Raises:
        ValueError: If a key is missing, or holds something else.

    >>> check_fields("run.json", {"curves": {"lr": 3}}, {"curves.lr": CURVE})
    Traceback (most recent call last):
    ValueError: run.json: curves.lr must be a list of numbers or nulls, got 3
    """
    for key, rule in rules.items():
        value: Any = data
        for part in key.split("."):
            if not isinstance(value, Mapping) or part not in value:
                raise ValueError(f"{path}: {key} must be {rule.text}, got nothing")
            value = value[part]
        if not rule.holds(value):
            raise ValueError(f"{path}: {key} must be {rule.text}, got {value!r:.80}")
