"""Damage to files, drawn from a seed: what disks, networks and editors do to them."""

import json
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

# What a hand, or a program in another language, may write in the place of a value.
WRONG_VALUES: list[Any] = [
    None,
    True,
    -1,
    0,
    1.5,
    10**30,
    float("nan"),
    float("inf"),
    "",
    "seven",
    "\ud83d",
    [],
    [1, "a"],
    [[3]],
    {},
    {"a": {"b": 1}},
]


def damage(content: bytes, seed: int) -> bytes:
    """Return the content of a file with a few bytes, or many, other than they were."""
    drawn = random.Random(seed)
    place, other = (drawn.randrange(len(content)) for _ in range(2))
    length = drawn.choice([1, 2, 8, 64, 512])
    before, after = content[:place], content[place + length :]
    flipped = bytes([content[place] ^ (1 << drawn.randrange(8))])
    kinds = {
        "flip": before + flipped + content[place + 1 :],
        "noise": before + drawn.randbytes(length) + after,
        "zero": before + bytes(length) + after,
        "lose": before + after,
        "insert": before + drawn.randbytes(length) + content[place:],
        "repeat": before + content[other : other + length] + content[place:],
        "cut": before,
        "append": content + drawn.randbytes(length),
    }
    return kinds[drawn.choice(sorted(kinds))]


def damage_text(content: bytes, seed: int) -> bytes:
    """Return JSON in which something has been written wrongly, or lost."""
    drawn = random.Random(seed)
    if drawn.random() < 0.3:
        return damage(content, seed)
    place = drawn.randrange(len(content))
    token = drawn.choice(["9", "-", "null", "NaN", '"', "{", "]", ",", ":", "\u00e9", "true", "."])
    return content[:place] + token.encode() + content[place + drawn.choice([0, 1, 3]) :]


def wrong_values(data: dict[str, Any]) -> Iterator[tuple[str, bytes]]:
    """Yield a JSON object with one of its values lost, or replaced by each wrong one.

    Yields:
        The key, after those that it lies in, and the content of the file.
    """
    for path in _paths(data):
        for wrong in (*WRONG_VALUES, ...):
            changed = deepcopy(data)
            place: Any = changed
            for key in path[:-1]:
                place = place[key]
            if wrong is ...:
                del place[path[-1]]
            else:
                place[path[-1]] = wrong
            yield ".".join(path), json.dumps(changed).encode()


def _paths(data: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    for key, value in data.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *rest) for rest in _paths(value))


def read_or_name(read: Callable[[], Any], *paths: Path) -> Any:
    """Read; what cannot be read must be a ValueError that names one of the files.

    Returns:
        What was read, or None, after which the test continues.
    """
    try:
        return read()
    except ValueError as error:
        if not any(str(path) in str(error) for path in paths):
            pytest.fail(f"no file is named: {error!r}")
        if type(error) is not ValueError:
            pytest.fail(f"must be a plain ValueError, got {error!r}")
    except Exception as error:
        pytest.fail(f"must be a ValueError that names the file, got {error!r}")
    return None
