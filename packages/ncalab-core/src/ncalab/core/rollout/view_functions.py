"""Views that make something of what their filters give, and whether they do so cell by cell."""

import torch
from torch import Tensor, nn

from ncalab.core.automaton import Automaton
from ncalab.core.perception import View, ViewsNCAPerception
from ncalab.core.rule.pointwise import find_fault


class Combination(nn.Module):
    """A view as a function of the state and of what its filters give, one after the other."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self.view = view

    def forward(self, cells: Tensor) -> Tensor:
        """Compute what is perceived, shape ``(B, output_size, N, 1)``."""
        flat = cells.flatten(2)[..., None]
        channels = self.view.channels
        seen = self.view.call_combine(flat[:, :channels].clone(), flat[:, channels:].clone())
        return seen.reshape(cells.shape[0], -1, *cells.shape[2:])


def nonlinear_views(model: Automaton) -> list[View]:
    """Return the views of a model that make something else of what their filters give."""
    perception = model.perception
    listed = perception.listed if isinstance(perception, ViewsNCAPerception) else []
    return [view for view in listed if not view.is_linear]


def why_views_not_pointwise(model: Automaton, dtype: torch.dtype) -> str | None:
    """Say why views may not be computed for any set of cells; None if they may."""
    for view in nonlinear_views(model):
        inputs = view.channels * (1 + view.filters.shape[0])
        if fault := find_fault(Combination(view), inputs, view.output_size, dtype, part=view):
            return f"the perception has a {type(view).__name__}, {fault}"
    return None
