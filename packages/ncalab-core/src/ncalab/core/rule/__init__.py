"""Update rules, which all cells of a model share."""

from ncalab.core.rule.base import AbstractNCARule
from ncalab.core.rule.cell_layers import Normalization
from ncalab.core.rule.gated import GatedNCARule
from ncalab.core.rule.mlp import MLPNCARule
from ncalab.core.rule.pointwise import why_not_pointwise

__all__ = [
    "AbstractNCARule",
    "GatedNCARule",
    "MLPNCARule",
    "Normalization",
    "why_not_pointwise",
]
