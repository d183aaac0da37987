"""Nonlinearities as formulas that GLSL, JavaScript and Python read alike."""

import math
from collections.abc import Callable

from torch import nn

# Of x, with abs, min, max, exp, log, tanh and erf, and no other syntax: every number has a point.
_SIGMOID = "(0.5 * tanh(0.5 * x) + 0.5)"
_SOFTPLUS = "(max(x, 0.0) + log(1.0 + exp(-abs(x))))"
_HARD_SIGMOID = "min(max(x / 6.0 + 0.5, 0.0), 1.0)"


def _hardtanh(layer: nn.Hardtanh) -> str:
    return f"min(max(x, {_number(layer.min_val)}), {_number(layer.max_val)})"


def _elu(alpha: float, *, scale: float = 1.0, inner: float = 1.0) -> str:
    a, s, i = _number(alpha), _number(scale), _number(inner)
    return f"{s} * (max(x, 0.0) + {a} * (exp(min(x, 0.0) / {i}) - 1.0))"


def _gelu(layer: nn.GELU) -> str:
    if layer.approximate == "tanh":
        root = _number(math.sqrt(2 / math.pi))
        return f"0.5 * x * (1.0 + tanh({root} * (x + 0.044715 * x * x * x)))"
    return f"0.5 * x * (1.0 + erf({_number(math.sqrt(0.5))} * x))"


def _softplus(layer: nn.Softplus) -> str:
    # Torch goes over to x beyond a threshold; at its default, 20, that changes 2e-9.
    beta = _number(layer.beta)
    x = f"({beta} * x)"
    return f"(max({x}, 0.0) + log(1.0 + exp(-abs({x})))) / {beta}"


_FORMULAS: dict[type[nn.Module], Callable[..., str]] = {
    nn.ReLU: lambda _: "max(x, 0.0)",
    nn.ReLU6: _hardtanh,
    nn.Hardtanh: _hardtanh,
    nn.LeakyReLU: lambda layer: f"max(x, 0.0) + {_number(layer.negative_slope)} * min(x, 0.0)",
    nn.ELU: lambda layer: _elu(layer.alpha),
    nn.CELU: lambda layer: _elu(layer.alpha, inner=layer.alpha),
    # Klambauer et al., Self-Normalizing Neural Networks, 2017, arXiv:1706.02515, equation 14.
    nn.SELU: lambda _: _elu(1.6732632423543772, scale=1.0507009873554805),
    nn.GELU: _gelu,
    nn.SiLU: lambda _: f"x * {_SIGMOID}",
    nn.Mish: lambda _: f"x * tanh({_SOFTPLUS})",
    nn.Softplus: _softplus,
    nn.Softsign: lambda _: "x / (1.0 + abs(x))",
    nn.Tanh: lambda _: "tanh(x)",
    nn.Tanhshrink: lambda _: "x - tanh(x)",
    nn.Sigmoid: lambda _: _SIGMOID,
    nn.LogSigmoid: lambda _: "min(x, 0.0) - log(1.0 + exp(-abs(x)))",
    nn.Hardsigmoid: lambda _: _HARD_SIGMOID,
    nn.Hardswish: lambda _: f"x * {_HARD_SIGMOID}",
    nn.Identity: lambda _: "x",
}


def _number(value: float) -> str:
    return f"({float(value)!r})"


def formula(layer: nn.Module) -> str:
    """Return a nonlinearity as an expression of ``x``.

    Args:
        layer: One of torch's elementwise activations, with its parameters.

    Returns:
        Expression in the syntax that GLSL, JavaScript and Python share.

    Raises:
        ValueError: If there is none for this layer.

    >>> formula(nn.LeakyReLU(0.2))
    'max(x, 0.0) + (0.2) * min(x, 0.0)'
    """
    if type(layer) not in _FORMULAS:
        raise ValueError(
            f"nonlinearity must be one of {', '.join(sorted(k.__name__ for k in _FORMULAS))}, "
            f"got {type(layer).__name__}"
        )
    return _FORMULAS[type(layer)](layer)
