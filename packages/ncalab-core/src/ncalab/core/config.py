"""Constructor arguments as data: classes by their names, and known classes by a name."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ncalab.core.perception import AbstractNCAPerception, View
from ncalab.core.rule import AbstractNCARule


def encode_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Replace classes of rules, perceptions, views and activations by their names.

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
            raise TypeError(f"{value!r} must be a registered part or one of torch's activations")
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
    for key in ("rule_type", "perception_type"):
        if isinstance(name := config.get(key), str):
            decoded[key] = _require_class(key, name)
    rule_args = config.get("rule_args")
    if isinstance(rule_args, Mapping) and isinstance(name := rule_args.get("nonlinearity"), str):
        decoded["rule_args"] = {**rule_args, "nonlinearity": _require_class("nonlinearity", name)}
    perception_args = config.get("perception_args")
    if isinstance(perception_args, Mapping) and isinstance(perception_args.get("views"), list):
        views = [_decode_view(view) for view in perception_args["views"]]
        decoded["perception_args"] = {**perception_args, "views": views}
    return decoded


def _decode_view(view: Any) -> Any:
    """Return the class of a view that is named alone, or with its arguments."""
    if isinstance(view, str):
        return _require_class("views", view)
    if isinstance(view, list) and len(view) == 2 and isinstance(view[0], str):
        return _require_class("views", view[0]), view[1]
    return view


def _known_class(name: str) -> type | None:
    """Find a class among registered parts and torch's activations."""
    if name in torch.nn.modules.activation.__all__:
        known: type = getattr(nn, name)
        return known
    registries: tuple[Mapping[str, type], ...] = (
        AbstractNCARule.registry,
        AbstractNCAPerception.registry,
        View.registry,
    )
    return next((found[name] for found in registries if name in found), None)


def _require_class(key: str, name: str) -> type:
    if (known := _known_class(name)) is None:
        raise ValueError(
            f"{key} must be known, but {name!r:.80} is not a registered rule, perception "
            "or view, nor an activation of torch; import the module that defines it first"
        )
    return known
