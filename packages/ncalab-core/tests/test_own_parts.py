"""Mistakes in views, perceptions and rules of one's own are named when a model is made."""

from typing import Any

import pytest
import torch
from core_models import TinyModel
from torch import Tensor, nn

from ncalab.core import AbstractNCARule, BasicNCAPerception
from ncalab.core.perception import SobelView, View, ViewsNCAPerception
from ncalab.core.rollout import rollout

CPU = torch.device("cpu")


def make(dims: int = 2, **arguments: Any) -> TinyModel:
    return TinyModel(CPU, 3, 4, 1, hidden_size=8, spatial_dims=dims, **arguments)


class OwnView(View):
    """A view whose filters a test sets."""

    def __init__(self, channels: int, spatial_dims: int, filters: Any = None) -> None:
        super().__init__(channels, spatial_dims)
        if filters is not None:
            self.filters = nn.Parameter(torch.ones(filters))


class FixedView(View):
    """A view whose fixed filters a test sets."""

    def __init__(self, channels: int, spatial_dims: int, filters: Any) -> None:
        super().__init__(channels, spatial_dims)
        self.set_filters(torch.ones(filters))


class MistypedView(SobelView):
    """A view with a typing error."""

    @property
    def output_size(self) -> int:
        return self.chanels  # type: ignore[return-value]  # the error under test


class MiscountedView(SobelView):
    """A view that says another size than it has."""

    @property
    def output_size(self) -> int:
        return self.channels


class FloatView(SobelView):
    """A view whose size is not a whole number."""

    @property
    def output_size(self) -> int:
        return self.channels / 2  # type: ignore[return-value]  # the error under test


@pytest.mark.parametrize(
    ("view", "dims", "message"),
    [
        (OwnView, 2, "OwnView must have filters, got none"),
        (View, 2, "View must have filters, got none"),
        (MistypedView, 2, "MistypedView must have output_size, got none .*attribute 'chanels'"),
        (MiscountedView, 2, "output_size of MiscountedView must be 16, for 2 filters of 8 cha"),
        (FloatView, 2, "output_size of FloatView must be an integer, got 4.0"),
        ((FixedView, {"filters": [1, 2, 2]}), 2, r"FixedView must have shape \(n, k, k\), k odd"),
        ((FixedView, {"filters": [1, 3, 5]}), 2, r"got \(1, 3, 5\)"),
        ((FixedView, {"filters": [3, 3]}), 2, r"must have shape \(n, k, k\), k odd, got \(3, 3\)"),
        ((FixedView, {"filters": [1, 3, 3]}), 3, r"must have shape \(n, k, k, k\), k odd"),
        ((OwnView, {"filters": [1, 8, 2, 2]}), 2, r"shape \(n, 8, k, k\), k odd, got \(1, 8, 2"),
        ((OwnView, {"filters": [2, 1, 3, 3]}), 2, r"shape \(n, 8, k, k\), k odd, got \(2, 1, 3"),
        ((OwnView, {"filters": [8, 3, 3]}), 2, r"shape \(n, 8, k, k\), k odd, got \(8, 3, 3\)"),
        ((OwnView, {"filters": [8]}), 1, r"shape \(n, 8, k\), k odd, got \(8,\)"),
    ],
)
def test_a_mistake_in_a_view_is_named(view: Any, dims: int, message: str) -> None:
    views = {"views": [SobelView, view]}

    with pytest.raises((TypeError, ValueError), match=message):
        make(dims, perception_type=ViewsNCAPerception, perception_args=views)


@pytest.mark.parametrize("filters", [[0, 3, 3], [2, 1, 1], [1, 5, 5]])
def test_filters_of_any_number_and_odd_size_are_right(filters: list[int]) -> None:
    views = {"views": [SobelView, (FixedView, {"filters": filters})]}
    model = make(perception_type=ViewsNCAPerception, perception_args=views)

    assert rollout(model, torch.rand(1, 8, 6, 5), 1).shape == (1, 8, 6, 5)


class MistypedPerception(BasicNCAPerception):
    """A perception with a typing error."""

    @property
    def output_size(self) -> int:
        return self.num_filtres  # type: ignore[return-value]  # the error under test


def test_a_mistake_in_a_perception_is_named() -> None:
    with pytest.raises(TypeError, match="MistypedPerception must have output_size.*num_filtres"):
        make(perception_type=MistypedPerception)


class FlatRule(AbstractNCARule):
    """A rule for pictures that does not say that it is pointwise."""

    def __init__(self, device: Any, input_size: int, hidden_size: int, output_size: int) -> None:
        super().__init__(device, input_size, hidden_size, output_size)
        self.layer = nn.Conv2d(input_size, output_size, 1)

    def forward(self, x: Tensor) -> Tensor:
        updates: Tensor = self.layer(x)
        return updates

    def freeze(self, freeze_last: bool = False) -> None:
        self.requires_grad_(not freeze_last)


class FlatteningRule(FlatRule):
    """A rule that lays out the cells itself."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(2)[..., None]).view(len(x), -1, *x.shape[2:])


@pytest.mark.parametrize(("dims", "layer"), [(1, "Conv1d"), (3, "Conv3d")])
def test_a_rule_for_another_grid_is_named(dims: int, layer: str) -> None:
    message = f"rule for a grid of {dims} axes, got FlatRule.*pointwise = True .* or use {layer}"

    with pytest.raises(ValueError, match=message):
        make(dims, rule_type=FlatRule)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_rule_may_lay_out_cells_itself(dims: int) -> None:
    model = make(dims, rule_type=FlatteningRule)

    assert rollout(model, torch.rand(1, 8, *[5] * dims), 1).shape == (1, 8, *[5] * dims)
