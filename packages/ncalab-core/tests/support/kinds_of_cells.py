"""Views and rules of all kinds, for tests that draw them."""

from typing import Any

from torch import nn

from ncalab.core import GatedNCARule
from ncalab.core.perception import (
    AttentionView,
    IsotropicView,
    LaplaceView,
    LearnedView,
    SobelView,
    SteerableView,
)

VIEWS: dict[str, list[Any]] = {
    "none": [],
    "fixed": [SobelView, LaplaceView],
    "two branches": [(LearnedView, {"num_filters": 2}), (LearnedView, {"dilation": 2})],
    "wide": [(LearnedView, {"num_filters": 1, "kernel_size": 5}), SobelView],
    "isotropic": [(IsotropicView, {"determinants": 4})],
    "steerable": [SteerableView, LaplaceView],
    "attention": [(AttentionView, {"heads": 2, "head_size": 3}), SobelView],
}

# What a small difference of the states changes little, unlike a ReLU's gradient.
SMOOTH_RULES: dict[str, dict[str, Any]] = {
    "tanh": {"rule_args": {"nonlinearity": nn.Tanh}},
    "gated": {"rule_type": GatedNCARule},
    "deep": {"rule_args": {"hidden_layers": 2, "nonlinearity": nn.SiLU}},
    "RMS norm": {"rule_args": {"normalization": "rms", "nonlinearity": nn.Softplus}},
}
RULES: dict[str, dict[str, Any]] = {
    **SMOOTH_RULES,
    "usual": {},
    "layer norm": {"rule_args": {"normalization": "layer", "nonlinearity": nn.PReLU}},
    "another activation": {"rule_args": {"nonlinearity": nn.GELU}},
}


def views_of(name: str, dims: int) -> list[Any]:
    """Return the views of a name that grids of ``dims`` axes can have."""
    if name == "isotropic" and dims == 1:
        return [IsotropicView]
    return VIEWS["fixed" if name == "steerable" and dims != 2 else name]
