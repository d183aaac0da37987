"""Describe any setting as data that JSON can hold and that two runs can compare."""

import functools
import math
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

_PLAIN = (str, bool, int, type(None))


def describe(value: Any) -> Any:
    """Describe a setting: the same in every process, and different for different settings.

    Args:
        value: Number, text, container, function, class, or an object, which is described by its
            class and public attributes.

    Returns:
        Data for JSON; NaN and infinity become text.

    >>> describe({"training_timesteps": (30, 40), "rule_type": torch.nn.Linear})
    {'training_timesteps': [30, 40], 'rule_type': 'torch.nn.modules.linear.Linear'}
    """
    if isinstance(value, Enum):
        return f"{_name(type(value))}.{value.name}"
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, PurePath | torch.device | torch.dtype | complex | bytes):
        return str(value)
    if isinstance(value, np.generic | np.ndarray | torch.Tensor):
        return describe(value.tolist())
    return _describe_compound(value)


def _describe_compound(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [describe(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((describe(item) for item in value), key=repr)
    if isinstance(value, functools.partial):
        return {
            "partial": describe(value.func),
            "args": [describe(value.args), describe(value.keywords)],
        }
    if hasattr(value, "__qualname__"):
        return _name(value)
    return {"class": _name(type(value)), **_public_attributes(value)}


def _name(value: Any) -> str:
    """Name a class or function; an address in memory would be another in each process."""
    return f"{value.__module__}.{value.__qualname__}"


def _public_attributes(value: Any) -> dict[str, Any]:
    """Return the simple attributes of an object: others may hold it in turn, or change with use."""
    attributes = sorted(getattr(value, "__dict__", {}).items())
    simple = (str, bool, int, float, tuple, type)
    return {
        key: describe(item)
        for key, item in attributes
        if not key.startswith("_") and isinstance(item, simple)
    }


def describe_loaders(
    train: DataLoader[Any], val: DataLoader[Any] | None
) -> dict[str, dict[str, Any] | None]:
    """Describe the size of training and validation data, to detect other data."""
    return {
        "train": _describe_loader(train),
        "val": None if val is None else _describe_loader(val),
    }


def _describe_loader(loader: DataLoader[Any]) -> dict[str, Any]:
    dataset: Any = loader.dataset
    samples = len(dataset) if hasattr(dataset, "__len__") else None
    return {"samples": samples, "batch_size": loader.batch_size}


def differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Name every entry in which two descriptions differ.

    >>> differences({"lr": 0.1, "pool": {"size": 8}}, {"lr": 0.2, "pool": {"size": 8}})
    ['lr was 0.1, is 0.2']
    """
    found: list[str] = []
    for key in dict.fromkeys([*before, *now]):
        old, new = before.get(key, "absent"), now.get(key, "absent")
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            found += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            found.append(f"{prefix}{key} was {old!r:.60}, is {new!r:.60}")
    return found
