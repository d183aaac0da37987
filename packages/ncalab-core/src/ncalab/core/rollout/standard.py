"""Recognise the rollouts that a fast engine may serve: those of standard parts only."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ncalab.core.automaton import Automaton
from ncalab.core.perception import (
    AbstractNCAPerception,
    BasicNCAPerception,
    View,
    ViewsNCAPerception,
)
from ncalab.core.rollout.view_functions import why_views_not_pointwise
from ncalab.core.rule import MLPNCARule, why_not_pointwise
from ncalab.core.rule.cell_layers import is_matrix

# Elementwise, without parameters and without randomness.
ELEMENTWISE = (
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Softsign,
    nn.Tanh,
    nn.Tanhshrink,
    nn.Sigmoid,
    nn.LogSigmoid,
    nn.Hardtanh,
    nn.Hardsigmoid,
    nn.Hardswish,
    nn.Identity,
)

# What a subclass may override, or an instance or a test replace, to change the dynamics.
_STEP_METHODS = (
    "_update",
    "_apply_rule",
    "_forward_step",
    "_post_forward_step",
    "_alive",
    "_fire_mask",
    "_split_fixed",
)
_PERCEPTION_METHODS = ("forward", "perceive", "time")


def why_not_standard(
    model: Automaton, x: Tensor, *, autocast_to: torch.dtype | None = None
) -> str | None:
    """Say why only the reference engine can run this model on these states.

    Args:
        model: Model whose rule all cells follow.
        x: States, shape ``(B, C, W, H)``.
        autocast_to: The dtype whose autocast the engine follows, if it follows any.

    Returns:
        The reason, None if every part of the step is the standard one.
    """
    return why_not_standard_parts(model) or _other_mode(model, x, autocast_to)


def why_not_standard_parts(model: Automaton) -> str | None:
    """Say which part of a model's step is not the standard one; None if all of them are."""
    return _why_other_parts(model, _other_filters(model) or why_not_perceptron(model.rule))


def why_not_perceptron_step(model: Automaton) -> str | None:
    """Say why a step is not: views, a perceptron of two layers, fire and alive mask; None if it is.

    Views of any kind are let pass if their filters are applied in the usual way, whatever their
    ``combine`` does.
    """
    return _why_other_parts(model, why_not_perceptron(model.rule))


def why_unknown_step(model: Automaton, x: Tensor) -> str | None:
    """Say why a step is not: linear views, a rule of any kind, fire and alive mask; None if it is.

    Args:
        model: Model whose rule all cells follow.
        x: States, shape ``(B, C, W, H)``.
    """
    return _why_other_parts(model) or _other_mode(model, x, None)


def reach_of(model: Automaton) -> int | None:
    """Return how many cells away a step reads, in every direction; None if that is not known."""
    if why_reach_unknown(model) is not None:
        return None
    # The second alive mask looks at the updates of the cells next to a cell.
    return model.perception.radius + int(model.use_alive_mask)


def why_reach_unknown(model: Automaton) -> str | None:
    """Say why a step may read cells beyond the model's filters and alive mask; None if not."""
    of_rule = None
    if why_not_perceptron(model.rule) is not None:
        of_rule = why_not_pointwise(model.rule, model.dtype)
    return _why_other_parts(model, of_rule) or why_views_not_pointwise(model, model.dtype)


def _why_other_parts(model: Automaton, of_rule: str | None = None) -> str | None:
    return _overridden(model) or _other_perception(model) or of_rule or _hooked(model)


def _overridden(model: Automaton) -> str | None:
    if model.runner is not None:
        return f"{type(model).__name__} runs several automata"
    for name in _STEP_METHODS:
        if getattr(type(model), name) is not getattr(Automaton, name):
            return f"{type(model).__name__} overrides {name}"
        if name in vars(model):
            return f"the model has a {name} of its own"
        if not _is_original(Automaton, name):
            return f"{name} of Automaton has been replaced"
    return None


def _is_original(cls: type, name: str) -> bool:
    """Return whether a class of this library or of torch has the method it was written with."""
    method = getattr(cls, name)
    if method is getattr(nn.Module, name, None):
        return True  # a container, which is not called
    is_method = getattr(method, "__qualname__", "").endswith(f".{name}")
    return is_method and _is_known(method) and not hasattr(method, "__wrapped__")


def _is_known(thing: Any) -> bool:
    """Return whether a class or method is of this library or of torch."""
    return getattr(thing, "__module__", "").partition(".")[0] in ("ncalab", "torch")


def _other_perception(model: Automaton) -> str | None:
    perception = model.perception
    if type(perception) not in (BasicNCAPerception, ViewsNCAPerception):
        return f"the perception is a {type(perception).__name__}"
    if perception.nca is not model:
        return "the perception is that of another model"
    for view in perception.modules():
        if isinstance(view, View) and type(view).forward is not View.forward:
            return f"{type(view).__name__} overrides forward"
    return None


def _other_filters(model: Automaton) -> str | None:
    if type(model.perception) is not BasicNCAPerception:
        return f"the perception is a {type(model.perception).__name__}"
    if model.goal_size:
        return "cells perceive a goal"
    return None if model.spatial_dims == 2 else f"the grid has {model.spatial_dims} axes"


def why_not_perceptron(rule: nn.Module) -> str | None:
    """Say why a rule is not the perceptron of two layers; None if it is."""
    if type(rule) is not MLPNCARule:
        return f"the rule is a {type(rule).__name__}"
    if rule.hidden_layers > 1 or rule.normalization is not None:
        return "the rule has more layers than two"
    if [type(layer) for layer in rule.network] != [nn.Conv2d, rule.nonlinearity, nn.Conv2d]:
        return "the rule's network has been rebuilt"
    if rule.nonlinearity not in ELEMENTWISE:
        return f"{rule.nonlinearity.__name__} is not known to act on each value by itself"
    if not (is_matrix(rule.first_layer) and is_matrix(rule.last_layer)):
        return "the rule's layers see more than one cell, or a part of its channels"
    if rule.first_layer.bias is None or rule.last_layer.bias is not None:
        return "the rule's layers have other biases"
    return None


def _hooked(model: Automaton) -> str | None:
    if torch.nn.modules.module._has_any_global_hook():
        return "there is a hook for all modules"
    for part in (*model.perception.modules(), *model.rule.modules()):
        hooks = (part._forward_hooks, part._forward_pre_hooks)
        if any(hooks) or part._backward_hooks or part._backward_pre_hooks:
            return f"{type(part).__name__} has a hook"
        if name := _replaced(part):
            return f"{name} of {type(part).__name__} has been replaced"
    return None


def _replaced(part: nn.Module) -> str | None:
    """Name a method that is not the one of the part's class."""
    for name, value in vars(part).items():
        if callable(value) and callable(getattr(type(part), name, None)):
            return name
    if not _is_known(type(part)):
        return None  # a class of the user's own is called, whatever it does
    methods = _PERCEPTION_METHODS if isinstance(part, AbstractNCAPerception) else ("forward",)
    return next((name for name in methods if not _is_original(type(part), name)), None)


def _other_mode(model: Automaton, x: Tensor, autocast_to: torch.dtype | None) -> str | None:
    filters = [bank.filters for bank in model.perception.filter_banks() or []]
    parameters = [*filters, *model.perception.parameters(), *model.rule.parameters()]
    if any(p.dtype != x.dtype or p.device != x.device for p in parameters):
        return "states and parameters differ in dtype or device"
    kind = x.device.type
    if torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) != autocast_to:
        return "autocast chooses the dtype of each operation"
    if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
        return "the rollout is being traced"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "a function transform of torch.func is active"
    if any(forward_ad.unpack_dual(value).tangent is not None for value in (x, *parameters)):
        return "derivatives are computed in forward mode"
    return None
