"""Names of torch's nonlinearities that the CUDA engine's kernels compute."""

from typing import NamedTuple

from torch import nn


class Activation(NamedTuple):
    """A nonlinearity of ``triton_activations``.

    Attributes:
        name: Its name there.
        a: First number that it takes.
        b: Second number.
        scale: Third number.
    """

    name: str
    a: float = 0.0
    b: float = 0.0
    scale: float = 1.0


_PLAIN = {
    nn.ReLU: "relu",
    nn.Tanh: "tanh",
    nn.Sigmoid: "sigmoid",
    nn.SiLU: "silu",
    nn.Identity: "identity",
}


def activation_of(module: nn.Module) -> Activation | None:
    """Return what the kernels compute for a module of torch; None if they do not know it.

    >>> activation_of(nn.LeakyReLU(0.25))
    Activation(name='leaky_relu', a=0.25, b=0.0, scale=1.0)
    """
    kind = type(module)
    if kind in _PLAIN:
        return Activation(_PLAIN[kind])
    if isinstance(module, nn.LeakyReLU):
        return Activation("leaky_relu", float(module.negative_slope))
    if isinstance(module, nn.Hardtanh):  # ReLU6 is one
        return Activation("clamp", float(module.min_val), float(module.max_val))
    if isinstance(module, nn.GELU):
        return Activation("gelu" if module.approximate == "none" else "gelu_tanh")
    if isinstance(module, nn.Softplus):
        return Activation("softplus", float(module.beta), float(module.threshold))
    return _exponential(module)


def _exponential(module: nn.Module) -> Activation | None:
    """Return the units that are ``scale * a * (exp(b x) - 1)`` below zero."""
    if isinstance(module, nn.ELU):
        return Activation("elu", float(module.alpha), 1.0)
    if isinstance(module, nn.CELU):
        return Activation("elu", float(module.alpha), 1.0 / float(module.alpha))
    if isinstance(module, nn.SELU):
        # Klambauer et al. 2017, arXiv:1706.02515, section 2.
        return Activation("elu", 1.6732632423543772, 1.0, 1.0507009873554805)
    return None
