"""A pointwise rule as a function of rows of cells."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from ncalab.core.rule.cell_layers import is_matrix


def tensors_of(rule: nn.Module) -> list[Tensor]:
    """Return parameters and buffers of a rule."""
    return [*rule.parameters(), *rule.buffers()]


def call_on_rows(rule: nn.Module, rows: Tensor, dt: float) -> Tensor:
    """Return updates, shape ``(N, C)``, of cells with perceptions of shape ``(N, P)``."""
    updates: Tensor = rule(rows.t()[None, ..., None])[0, ..., 0].t()
    return updates if dt == 1 else dt * updates


def copy_for_rows(rule: nn.Module, tensors: Sequence[Tensor]) -> nn.Module:
    """Return a copy of a rule that has other tensors, and computes products of rows.

    Args:
        rule: The rule; not changed.
        tensors: What takes the place of its parameters and buffers; not copied.
    """
    # What deepcopy takes for copied already.
    memo = {id(own): other for own, other in zip(tensors_of(rule), tensors, strict=True)}
    copied = deepcopy(rule, memo)
    for layer in copied.modules():
        if not isinstance(layer, nn.Conv2d) or not is_matrix(layer):
            continue
        if type(layer).forward is nn.Conv2d.forward:
            vars(layer)["forward"] = partial(_multiply, layer)
    return copied


def _multiply(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """Apply a 1x1 convolution as a product: with channels last, cells are its rows."""
    return F.linear(x.movedim(1, -1), layer.weight.flatten(1), layer.bias).movedim(-1, 1)
