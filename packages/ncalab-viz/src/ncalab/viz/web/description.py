"""Describe a model and its first state to the page, as data for JSON."""

import base64
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ncalab.core import AbstractNCAModel, MLPNCARule
from ncalab.core.alive import ALIVE_THRESHOLD
from ncalab.core.automaton import Automaton
from ncalab.core.fire import fire_threshold
from ncalab.core.multiscale import MultiScale
from ncalab.core.padding import margins
from ncalab.core.rollout.standard import why_not_perceptron_step
from ncalab.core.task import spec_of
from ncalab.viz.colors import class_colors
from ncalab.viz.web.activation import formula
from ncalab.viz.web.perception import (
    PerceivedBlocks,
    angle_channels,
    knows_no_direction,
    perceived_blocks,
    places_seen,
    why_not_perceivable,
)

Array = np.ndarray

# Up to so many cells of a channel are listed one by one.
_FEW = 32


class Stage(NamedTuple):
    """The steps that a model takes at one scale.

    Attributes:
        automaton: Automaton that takes them.
        scale: Size of a cell in pixels.
        steps: Number of steps; the page continues at the last scale.
    """

    automaton: Automaton
    scale: int
    steps: int


def check_exportable(
    model: AbstractNCAModel, name: str = "model", goal: Tensor | None = None
) -> None:
    """Raise unless the page can run the model.

    Args:
        model: Model.
        name: Name of the argument, for the message.
        goal: Goal of the page, a batch of one; None if there is none.

    Raises:
        TypeError: If it is not a model.
        ValueError: If it is one that the page cannot run, or without goals; the message names the
            reason.
    """
    if not isinstance(model, AbstractNCAModel):
        raise TypeError(f"{name} must be an AbstractNCAModel, got {type(model).__name__}")
    reason = why_not_exportable(model)
    if reason is not None:
        raise ValueError(f"{name} must be one that a web page can run, but {reason}")
    if model.goal_size and goal is None:
        raise ValueError(
            f"{name} must be one that a web page can run, but cells perceive a goal; give one, a "
            "batch of one, as goal"
        )
    model.encode_goal(goal, 1)


def why_not_exportable(model: AbstractNCAModel) -> str | None:
    """Say why the page cannot run a model; None if it can."""
    if model.runner is not None and type(model.runner) is not MultiScale:
        return f"{type(model).__name__} runs its steps by a {type(model.runner).__name__}"
    if model.head is not None:
        return f"it has a head, {type(model.head).__name__}, which reads whole images"
    reasons = (_why_not_runnable(automaton) for automaton in automata_of(model))
    return next((reason for reason in reasons if reason is not None), None)


def _why_not_runnable(automaton: Automaton) -> str | None:
    reason = why_not_perceptron_step(automaton) or why_not_perceivable(automaton)
    if reason is not None:
        return reason
    filters = perceived_blocks(automaton).filters
    for name, value in (*automaton.rule.state_dict().items(), ("filters", filters)):
        if not value.isfinite().all():
            return f"its weights must be finite, and {name} has NaN or infinite values"
    return None


def automata_of(model: AbstractNCAModel) -> list[Automaton]:
    """Return the automaton of each scale of a model; a model with one scale is its own."""
    return list(model.runner.automata) if isinstance(model.runner, MultiScale) else [model]


def stages_of(model: AbstractNCAModel, steps: int) -> list[Stage]:
    """Return what a model runs, from coarse to fine.

    Args:
        model: Model that :func:`check_exportable` accepts.
        steps: Number of steps in all, shared out among the scales.

    Raises:
        ValueError: If a scale would have no step.
    """
    if not isinstance(model.runner, MultiScale):
        return [Stage(model, 1, steps)]
    counts = model.runner.share(steps)
    return list(map(Stage, model.runner.automata, model.runner.scales, counts))


def describe_sight(model: AbstractNCAModel, *others: AbstractNCAModel) -> str:
    """Say in a few sentences what one sees of a model, or of several side by side."""
    sight = f"{_describe_rules(model)}{_describe_directions(model)}"
    sight = f"{sight} Together they {_describe_purpose(model)}."
    if not others:
        return sight
    return f"{sight} The same cells fire in all {1 + len(others)} models; a cut goes through all."


def _describe_rules(model: AbstractNCAModel) -> str:
    count = sum(parameter.numel() for parameter in model.parameters())
    scales = model.runner.scales if isinstance(model.runner, MultiScale) else [1]
    if len(set(scales)) == 1:
        return f"All cells run one rule of {count:,} weights, and each sees only its neighbours."
    first, *others = (f"{scale} x {scale}" for scale in scales)
    rules = "each size has a rule of its own" if len(set(automata_of(model))) > 1 else "one rule"
    return (
        f"Cells of {first} pixels run first, then cells of {' and '.join(others)}: "
        f"{rules}, {count:,} weights in all. Each cell sees only its neighbours."
    )


def _describe_directions(model: AbstractNCAModel) -> str:
    if all(map(knows_no_direction, automata_of(model))):
        return " It knows no direction: what the cells draw may lie in any."
    if angle_channels(automata_of(model)):
        return " It turns what it sees by an angle of its own."
    return ""


def _describe_purpose(model: AbstractNCAModel) -> str:
    if not model.immutable_image_channels:
        return "grow a picture"
    return spec_of(model).purpose


def describe_model(
    model: AbstractNCAModel, stages: Sequence[Stage], goal: Tensor | None = None
) -> dict[str, Any]:
    """Describe channels, steps and weights of a model that :func:`check_exportable` accepts.

    Args:
        model: Model.
        stages: What it runs, as :func:`stages_of` returns it.
        goal: Goal that all cells perceive, a batch of one; None for a model without.
    """
    # Scales that share weights share one description.
    automata = {id(stage.automaton): stage.automaton for stage in stages}
    place = {key: number for number, key in enumerate(automata)}
    return {
        "channels": {
            "image": model.num_image_channels,
            "hidden": model.num_hidden_channels,
            "output": model.num_output_channels,
        },
        "fixed": model.num_fixed_channels,
        "knowsNoDirection": all(knows_no_direction(stage.automaton) for stage in stages),
        "angleChannels": angle_channels([stage.automaton for stage in stages]),
        "automata": [_describe_automaton(automaton, goal) for automaton in automata.values()],
        "stages": [
            {"automaton": place[id(stage.automaton)], "scale": stage.scale, "steps": stage.steps}
            for stage in stages
        ],
        **_describe_classes(model),
    }


def _describe_classes(model: AbstractNCAModel) -> dict[str, Any]:
    """Describe what cells say: the background is class 0, or living cells vote for an image."""
    votes = spec_of(model).reading == "votes"
    count = max(2, model.num_output_channels)
    colors = class_colors(count if votes else count - 1)
    if not votes:
        colors = np.concatenate([np.zeros((1, 3)), colors])
    return {
        "votes": votes,
        "visibleAbove": ALIVE_THRESHOLD,
        "classColors": np.round(255 * colors).astype(int).tolist(),
    }


def _describe_automaton(automaton: Automaton, goal: Tensor | None) -> dict[str, Any]:
    rule = automaton.rule
    if not isinstance(rule, MLPNCARule):
        raise TypeError(f"rule must be an MLPNCARule, got {type(rule).__name__}")
    blocks = perceived_blocks(automaton)
    places = places_seen(blocks.filters)
    return {
        "fixed": automaton.num_fixed_channels,
        "aliveAbove": ALIVE_THRESHOLD if automaton.use_alive_mask else None,
        "fireThreshold": fire_threshold(automaton.fire_rate),
        "filters": len(blocks.filters),
        "places": (places - automaton.perception.radius).tolist(),
        "firstFilter": blocks.first_filter,
        "inputs": blocks.inputs,
        "combinations": blocks.combinations,
        "hiddenSize": rule.first_layer.out_channels,
        "activation": formula(rule.activation),
        "timePerStep": automaton.perception.time(1),
        "weights": _describe_weights(automaton, rule, blocks, places, goal),
    }


def _describe_weights(
    automaton: Automaton,
    rule: MLPNCARule,
    blocks: PerceivedBlocks,
    places: Tensor,
    goal: Tensor | None,
) -> dict[str, str]:
    first, bias, last = rule.first_layer.weight, rule.first_layer.bias, rule.last_layer.weight
    if bias is None:
        raise ValueError("rule must have a bias in its first layer, got None")
    vectors = automaton.encode_goal(goal, 1)
    if vectors is not None:
        # A goal that does not change is a bias: what cells perceive ends with it.
        bias = bias + first[:, -automaton.goal_size :, 0, 0] @ vectors[0]
    perceived = len(blocks.places)
    time = first[:, perceived] if automaton.use_temporal_encoding else first.new_zeros(len(first))
    of_blocks = first.new_zeros(len(first), blocks.inputs * automaton.num_channels)
    of_blocks[:, blocks.places.to(first.device)] = first[:, :perceived, 0, 0].detach()
    rows, columns = places.T
    weights = {
        "filters": blocks.filters[:, :, rows, columns],  # (n, C, places)
        "first": of_blocks,  # (hidden, inputs C)
        "bias": bias,
        "time": time,
        "last": automaton.dt * last,  # (C, hidden)
    }
    return {name: encode_floats(_to_array(value)) for name, value in weights.items()}


def describe_state(state: Tensor) -> dict[str, Any]:
    """Describe a state, shape ``(C, W, H)``, float32, on the CPU; W runs downwards."""
    _, rows, columns = state.shape
    start = [encode_channel(channel) for channel in _to_array(state)]
    return {"rows": rows, "columns": columns, "start": start}


def describe_borders(stages: Sequence[Stage], state: Tensor) -> list[dict[str, Any]]:
    """Describe which cells the filters see beyond the border of the grid of each stage.

    Args:
        stages: What a model runs, as :func:`stages_of` returns it.
        state: First state, shape ``(C, W, H)``.

    Returns:
        For "rows" and "columns" of each stage, the places of the cells before the first one and
        after the last one; -1 for zeros.
    """
    return [_describe_border(stage, state.shape[1:]) for stage in stages]


def _describe_border(stage: Stage, size: Sequence[int]) -> dict[str, Any]:
    automaton = stage.automaton
    radius = automaton.perception.radius
    rows, columns = (
        [margin.tolist() for margin in margins(cells, radius, automaton.filter_padding)]
        for cells in (-(-length // stage.scale) for length in size)
    )
    return {"rows": rows, "columns": columns}


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
