"""JSON files that are whole or not there, with null for numbers that JSON does not know."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncalab.core.json_file import read_json
from ncalab.core.saving import atomic_write

__all__ = ["read_json", "with_nan", "without_nan", "write_json"]


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Write a JSON object, in whole or not at all; NaN and infinity become null."""
    text = json.dumps(without_nan(data), indent=2, allow_nan=False) + "\n"
    atomic_write(path, text.encode())


def without_nan(value: Any) -> Any:
    """Replace NaN and infinity, which JSON cannot hold, by None."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def with_nan(value: Any) -> Any:
    """Replace None, which stands for it in JSON, by NaN."""
    if isinstance(value, list):
        return [with_nan(item) for item in value]
    if isinstance(value, Mapping):
        return {key: with_nan(item) for key, item in value.items()}
    return math.nan if value is None else value
