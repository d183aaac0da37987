"""Differences between a configuration and its copy beside the weights, which a checksum seals.

``config.json`` may be edited by hand, so that it has no checksum of its own; but a number in which
a bit has flipped is still a number. The copy shows it.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_SHOWN = 3


def describe_edits(path: Path, config: Mapping[str, Any], saved: Mapping[str, Any]) -> str:
    """Say what a configuration has in place of what a model was saved with.

    Args:
        path: Its file.
        config: What the file holds.
        saved: What the model was saved with.

    Returns:
        One sentence; "" if they are the same.

    >>> describe_edits(Path("config.json"), {"fire_rate": 0.25}, {"fire_rate": 0.5})
    'config.json has fire_rate = 0.25, where the model was saved with 0.5'
    """
    found = list(_differences("", config, saved))
    if not found:
        return ""
    more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return f"{path} has {', '.join(found[:_SHOWN])}{more}"


def _differences(key: str, value: Any, saved: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and isinstance(saved, Mapping):
        for name in {**saved, **value}:
            place = f"{key}.{name}" if key else str(name)
            if name not in value:
                yield f"no {place}, where the model was saved with {saved[name]!r:.40}"
            elif name not in saved:
                yield f"{place} = {value[name]!r:.40}, where the model was saved without it"
            else:
                yield from _differences(place, value[name], saved[name])
    # JSON: True is not 1 there, but 1 and 1.0 are one number.
    elif value != saved or isinstance(value, bool) is not isinstance(saved, bool):
        yield f"{key} = {value!r:.40}, where the model was saved with {saved!r:.40}"
