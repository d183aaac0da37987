"""What the page needs to know of a model and of its first state, as data for JSON."""

import base64
from typing import Any

import numpy as np
from torch import Tensor

from ncalab.core import AbstractNCAModel, MLPNCARule
from ncalab.core.alive import ALIVE_THRESHOLD
from ncalab.core.fire import fire_threshold
from ncalab.core.padding import margins
from ncalab.core.rollout.standard import why_not_standard_parts
from ncalab.core.task import spec_of
from ncalab.viz.web.activation import formula

Array = np.ndarray

# Up to so many cells of a channel are listed one by one.
_FEW = 32


def check_exportable(model: AbstractNCAModel) -> None:
    """Raise unless the page can run the model.

    Raises:
        TypeError: If it is not a model.
        ValueError: If it is one that the page cannot run; the message names the reason.
    """
    if not isinstance(model, AbstractNCAModel):
        raise TypeError(f"model must be an AbstractNCAModel, got {type(model).__name__}")
    reason = why_not_exportable(model)
    if reason is not None:
        raise ValueError(f"model must be one that a web page can run, but {reason}")


def why_not_exportable(model: AbstractNCAModel) -> str | None:
    """Say why the page cannot run a model; None if it can."""
    if model.runner is not None:
        return f"{type(model).__name__} runs a chain of rollouts; export the model that it wraps"
    if (reason := why_not_standard_parts(model)) is not None:
        return reason
    if model.head is not None:
        return f"it has a head, {type(model.head).__name__}, which reads whole images"
    for name, value in (*model.rule.state_dict().items(), ("filters", model.perception.filters)):
        if not value.isfinite().all():
            return f"its weights must be finite, and {name} has NaN or infinite values"
    return None


def describe_sight(model: AbstractNCAModel) -> str:
    """Say in a sentence or two what one sees of a model."""
    count = sum(parameter.numel() for parameter in model.parameters())
    rule = f"All cells run one rule of {count:,} weights, and each sees only its neighbours."
    if not model.immutable_image_channels:
        return f"{rule} Together they grow a picture."
    return f"{rule} {spec_of(model).sight}"


def describe_model(model: AbstractNCAModel) -> dict[str, Any]:
    """Describe channels, step and weights of a model that :func:`check_exportable` accepts."""
    rule = model.rule
    if not isinstance(rule, MLPNCARule):
        raise TypeError(f"rule must be an MLPNCARule, got {type(rule).__name__}")
    return {
        "channels": {
            "image": model.num_image_channels,
            "hidden": model.num_hidden_channels,
            "output": model.num_output_channels,
        },
        "fixed": model.num_fixed_channels,
        "aliveAbove": ALIVE_THRESHOLD if model.use_alive_mask else None,
        "fireThreshold": fire_threshold(model.fire_rate),
        "filters": len(model.perception.filters),
        "kernelSize": model.perception.filters.shape[-1],
        "hiddenSize": rule.first_layer.out_channels,
        "activation": formula(rule.activation),
        "timePerStep": model.perception.time(1),
        "weights": _describe_weights(model, rule),
    }


def _describe_weights(model: AbstractNCAModel, rule: MLPNCARule) -> dict[str, str]:
    first, bias, last = rule.first_layer.weight, rule.first_layer.bias, rule.last_layer.weight
    if bias is None:
        raise ValueError("rule must have a bias in its first layer, got None")
    inputs = model.num_channels * (1 + len(model.perception.filters))
    time = first[:, inputs] if model.use_temporal_encoding else first.new_zeros(len(first))
    weights = {
        "filters": model.perception.filters,  # (n, C, k, k)
        "first": first[:, :inputs],  # (hidden, (1 + n) C)
        "bias": bias,
        "time": time,
        "last": model.dt * last,  # (C, hidden)
    }
    return {name: encode_floats(_to_array(value)) for name, value in weights.items()}


def describe_state(state: Tensor) -> dict[str, Any]:
    """Describe a state, shape ``(C, W, H)``, float32, on the CPU; W runs downwards."""
    _, rows, columns = state.shape
    start = [encode_channel(channel) for channel in _to_array(state)]
    return {"rows": rows, "columns": columns, "start": start}


def describe_border(model: AbstractNCAModel, state: Tensor) -> dict[str, Any]:
    """Describe which cells stand beyond the border of a state, shape ``(C, W, H)``.

    Returns:
        "beyond": for rows and columns, the places of the cells before the first one and after the
        last one, as far as the filters reach; -1 for zeros.
    """
    radius, padding = model.perception.filters.shape[-1] // 2, model.filter_padding
    _, *sizes = state.shape
    rows, columns = (
        [margin.tolist() for margin in margins(size, radius, padding)] for size in sizes
    )
    return {"beyond": {"rows": rows, "columns": columns}}


def _to_array(value: Tensor) -> Array:
    return np.asarray(value.detach().float().cpu())


def encode_channel(channel: Array) -> dict[str, Any]:
    """Write one channel in the smallest way that is exact: few cells, bytes, or floats.

    Args:
        channel: Shape ``(W, H)``, float32.

    Returns:
        "cells" and "values"; or "bytes" (8 bits, 255 for 1), or "floats", in base64.

    >>> encode_channel(np.eye(2, dtype=np.float32))
    {'cells': [0, 3], 'values': [1.0, 1.0]}
    """
    cells = np.flatnonzero(channel)
    if len(cells) <= _FEW:
        return {"cells": cells.tolist(), "values": channel.ravel()[cells].tolist()}
    steps = np.round(np.clip(channel, 0, 1) * 255).astype(np.uint8)
    if np.array_equal(steps / np.float32(255), channel):
        return {"bytes": base64.b64encode(steps.tobytes()).decode()}
    return {"floats": encode_floats(channel)}


def encode_floats(values: Array) -> str:
    """Return values as little-endian float32 in base64.

    >>> encode_floats(np.array([1.0]))
    'AACAPw=='
    """
    return base64.b64encode(values.astype("<f4").tobytes()).decode()
