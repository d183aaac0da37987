"""Which rollouts a fast engine may serve: those whose every part is the standard one."""

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from ncalab.core.automaton import Automaton
from ncalab.core.perception import BasicNCAPerception
from ncalab.core.rollout.spec import parameters_of
from ncalab.core.rule import MLPNCARule

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
    return (
        _overridden(model)
        or _other_parts(model)
        or _hooked(model)
        or _other_mode(model, x, autocast_to)
    )


def why_reach_unknown(model: Automaton) -> str | None:
    """Say why a step may read cells beyond the model's filters and alive mask; None if not."""
    return _overridden(model) or _other_parts(model) or _hooked(model)


def _overridden(model: Automaton) -> str | None:
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
    is_method = getattr(method, "__qualname__", "").endswith(f".{name}")
    is_ours = getattr(method, "__module__", "").partition(".")[0] in ("ncalab", "torch")
    return is_method and is_ours and not hasattr(method, "__wrapped__")


def _other_parts(model: Automaton) -> str | None:
    if type(model.perception) is not BasicNCAPerception:
        return f"the perception is a {type(model.perception).__name__}"
    if model.perception.nca is not model:
        return "the perception is that of another model"
    rule = model.rule
    if type(rule) is not MLPNCARule:
        return f"the rule is a {type(rule).__name__}"
    if [type(layer) for layer in rule.network] != [nn.Conv2d, rule.nonlinearity, nn.Conv2d]:
        return "the rule's network has been rebuilt"
    if rule.nonlinearity not in ELEMENTWISE:
        return f"{rule.nonlinearity.__name__} is not known to act on each value by itself"
    if not (_is_pointwise(rule.first_layer) and _is_pointwise(rule.last_layer)):
        return "the rule's layers see more than one cell, or a part of its channels"
    if rule.first_layer.bias is None or rule.last_layer.bias is not None:
        return "the rule's layers have other biases"
    return None


def _is_pointwise(layer: nn.Conv2d) -> bool:
    """Return whether a convolution is one matrix, applied to every cell."""
    shape = (layer.weight.shape[2:], layer.stride, layer.padding, layer.groups)
    return shape == ((1, 1), (1, 1), (0, 0), 1)


def _hooked(model: Automaton) -> str | None:
    if torch.nn.modules.module._has_any_global_hook():
        return "there is a hook for all modules"
    for part in (model.perception, *model.rule.modules()):
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
    methods = _PERCEPTION_METHODS if isinstance(part, BasicNCAPerception) else ("forward",)
    return next((name for name in methods if not _is_original(type(part), name)), None)


def _other_mode(model: Automaton, x: Tensor, autocast_to: torch.dtype | None) -> str | None:
    parameters = parameters_of(model)
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
