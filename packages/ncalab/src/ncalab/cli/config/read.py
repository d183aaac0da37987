"""Settings files: TOML or JSON, with single settings replaced."""

import json
import tomllib
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

Config = dict[str, Any]

SUFFIXES = (".toml", ".json")


def read_config(path: Path) -> Config:
    """Read a settings file.

    Args:
        path: File that ends in .toml or .json.

    Returns:
        Its settings: a table of values and sections.

    Raises:
        ValueError: If it ends in anything else, or is broken; with the place.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f"CONFIG must end in {' or '.join(SUFFIXES)}, got {path}")
    try:
        text = path.read_text(encoding="utf-8-sig")
        config = tomllib.loads(text) if path.suffix.lower() == ".toml" else json.loads(text)
    except (ValueError, RecursionError) as error:  # both decoders' errors are ValueErrors
        raise ValueError(f"CONFIG must be {path.suffix[1:].upper()}, got {path}: {error}") from None
    if not isinstance(config, dict):
        raise ValueError(f"CONFIG must hold sections, got {config!r:.60} in {path}")
    return config


def parse_override(text: str) -> tuple[list[str], Any]:
    """Split what ``--set`` was given into the place of a setting and its value.

    Args:
        text: ``section.key=value``. The value is read as in TOML; anything else is text.

    Raises:
        ValueError: If "=" or the key is missing.

    >>> parse_override("trainer.max_epochs=3"), parse_override("device=cpu")
    ((['trainer', 'max_epochs'], 3), (['device'], 'cpu'))
    """
    key, equals, value = text.partition("=")
    places = [part.strip() for part in key.split(".")]
    if not equals or not all(places):
        raise ValueError(f"--set must be KEY=VALUE, such as trainer.max_epochs=3, got {text!r}")
    try:
        return places, tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return places, value.strip()


def override(config: Mapping[str, Any], changes: Iterable[tuple[list[str], Any]]) -> Config:
    """Return settings with some of them replaced or added.

    Args:
        config: Settings; not changed.
        changes: Place and new value of each.

    Raises:
        ValueError: If a place lies within a setting that is not a section.

    >>> override({"model": {"fire_rate": 0.5}}, [(["model", "fire_rate"], 1.0)])
    {'model': {'fire_rate': 1.0}}
    """
    changed = deepcopy(dict(config))
    for places, value in changes:
        table: Any = changed
        for place in places[:-1]:
            table = table.setdefault(place, {})
            if not isinstance(table, dict):
                raise ValueError(f"--set must name a setting of a section, got {'.'.join(places)}")
        table[places[-1]] = value
    return changed
