"""Constructor arguments as data: classes by their names, and known classes by a name."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ncalab.core.rule import AbstractNCARule


def encode_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Replace rule and activation classes in constructor arguments by their names.

    Raises:
        TypeError: If what results cannot be written as JSON.

    >>> encode_config({"rule_args": {"nonlinearity": nn.Tanh}, "training_timesteps": (3, 5)})
    {'rule_args': {'nonlinearity': 'Tanh'}, 'training_timesteps': [3, 5]}
    """
    encoded = {key: _encode(value) for key, value in config.items()}
    for key, value in encoded.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TypeError(f"{key} must be data that JSON can hold, got {value!r}") from error
    return encoded


def _encode(value: Any) -> Any:
    if isinstance(value, type):
        if _known_class(value.__name__) is not value:
            raise TypeError(f"{value!r} must be a registered rule or one of torch's activations")
        return value.__name__
    if isinstance(value, Mapping):
        return {str(key): _encode(item) for key, item in value.items()}
    if isinstance(value, tuple | list):
        return [_encode(item) for item in value]
    return value


def decode_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Turn the names that :func:`encode_config` wrote back into classes, from known ones only.

    Raises:
        ValueError: If a name is none of a known class.
    """
    decoded = dict(config)
    if isinstance(name := config.get("rule_type"), str):
        decoded["rule_type"] = _require_class("rule_type", name)
    rule_args = config.get("rule_args")
    if isinstance(rule_args, Mapping) and isinstance(name := rule_args.get("nonlinearity"), str):
        decoded["rule_args"] = {**rule_args, "nonlinearity": _require_class("nonlinearity", name)}
    return decoded


def _known_class(name: str) -> type | None:
    """Find a class among registered rules and torch's activations."""
    if name in torch.nn.modules.activation.__all__:
        known: type = getattr(nn, name)
        return known
    return AbstractNCARule.registry.get(name)


def _require_class(key: str, name: str) -> type:
    if (known := _known_class(name)) is None:
        raise ValueError(
            f"{key} must be known, but {name!r:.80} is no registered rule and no activation of "
            "torch; import the module that defines it first"
        )
    return known
