"""Update of cells from the outputs of their filters, as a function of rows of cells."""

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncalab.core.automaton import Automaton
from ncalab.core.perception import View, ViewsNCAPerception
from ncalab.core.rollout.cpu.compiled.trace import tensors_of
from ncalab.core.rollout.view_functions import nonlinear_views, why_views_not_pointwise
from ncalab.core.rule.cell_layers import is_matrix
from ncalab.core.rule.pointwise import why_not_pointwise

# Which views change their inputs, by training mode, as long as they live.
_in_place: "WeakKeyDictionary[View, dict[bool, bool]]" = WeakKeyDictionary()


class ViewedRule(nn.Module):
    """A rule as a function of the state and of what the filters of all views give.

    Args:
        views: The views; what cells perceive besides comes last.
        rule: The rule.
    """

    def __init__(self, views: Sequence[View], rule: nn.Module) -> None:
        super().__init__()
        self.sizes = [view.filters.shape[0] * view.channels for view in views]
        self.channels = views[0].channels
        # Of linear views, filters are not part of this function.
        self.views = nn.ModuleList(nn.Identity() if v.is_linear else v for v in views)
        self.rule = rule
        # Copies of all take a quarter of the time of a rollout, so few get them.
        self.copied = [not v.is_linear and _changes_inputs(v) for v in views]

    def forward(self, cells: Tensor) -> Tensor:
        """Compute updates, shape ``(B, C, N, 1)``."""
        rest = cells.shape[1] - self.channels - sum(self.sizes)
        state, *filtered, others = cells.split([self.channels, *self.sizes, rest], dim=1)
        seen = [
            _see(view, state, part, is_copied=is_copied)
            for view, part, is_copied in zip(self.views, filtered, self.copied, strict=True)
        ]
        updates: Tensor = self.rule(torch.cat([state, *seen, others], dim=1))
        return updates


def _see(view: nn.Module, state: Tensor, filtered: Tensor, *, is_copied: bool) -> Tensor:
    if not isinstance(view, View):
        return filtered
    if is_copied:
        return view.call_combine(state.clone(), filtered.clone())
    return view.call_combine(state, filtered)


def _changes_inputs(view: View) -> bool:
    """Return whether a view changes in place what it combines; tested once for each mode."""
    known = _in_place.setdefault(view, {})
    if view.training not in known:
        with torch.inference_mode(False), torch.no_grad():
            cells = view.filters.new_zeros(1, view.channels * (1 + view.filters.shape[0]), 2, 1)
            before = cells._version
            view.combine(cells[:, : view.channels], cells[:, view.channels :])
        known[view.training] = cells._version != before
    return known[view.training]


def function_of_cells(model: Automaton) -> nn.Module:
    """Return what a model computes from states and what its filters give."""
    if nonlinear_views(model) and isinstance(model.perception, ViewsNCAPerception):
        return ViewedRule(model.perception.listed, model.rule)
    return model.rule


def why_no_rows(model: Automaton, dtype: torch.dtype) -> str | None:
    """Say why views and rule may not be computed for any set of cells; None if they may."""
    return why_views_not_pointwise(model, dtype) or why_not_pointwise(model.rule, dtype)


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
