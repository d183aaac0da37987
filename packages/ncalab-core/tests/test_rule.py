from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ncalab.core import AbstractNCARule, GatedNCARule, MLPNCARule
from ncalab.core.testing import check_rule

CPU = torch.device("cpu")


def test_a_fresh_rule_changes_nothing() -> None:
    assert MLPNCARule(CPU, 6, 5, 3)(torch.randn(2, 6, 4, 4)).abs().max() == 0


def test_rule_equals_two_matrix_products_per_cell() -> None:
    rule = MLPNCARule(CPU, 6, 5, 3, nonlinearity=nn.Tanh)
    nn.init.normal_(rule.last_layer.weight)
    x = torch.randn(1, 6, 1, 1)

    first, last = rule.first_layer, rule.last_layer
    assert first.bias is not None
    hidden = torch.tanh(first.weight[:, :, 0, 0] @ x.flatten() + first.bias)
    want = last.weight[:, :, 0, 0] @ hidden

    torch.testing.assert_close(rule(x).flatten(), want)


@pytest.mark.parametrize(("freeze_last", "trainable"), [(False, 5 * 3), (True, 0)])
def test_freeze_leaves_the_last_layer_unless_told(freeze_last: bool, trainable: int) -> None:
    rule = MLPNCARule(CPU, 6, 5, 3)

    rule.freeze(freeze_last=freeze_last)

    assert sum(p.numel() for p in rule.parameters() if p.requires_grad) == trainable


def test_device_follows_the_parameters() -> None:
    assert MLPNCARule(CPU, 6, 5, 3).to("meta").device.type == "meta"


def test_a_nonlinearity_that_is_no_class_is_refused() -> None:
    with pytest.raises(TypeError, match="nonlinearity must be a class of torch modules"):
        MLPNCARule(CPU, 6, 5, 3, nonlinearity=nn.ReLU())  # type: ignore[arg-type]  # the fault under test


@pytest.mark.parametrize("sizes", [(5, 10**9), (10**6, 2)])
def test_more_layers_than_memory_holds_are_refused(sizes: tuple[int, int]) -> None:
    hidden_size, hidden_layers = sizes
    with pytest.raises(ValueError, match="hidden_size and hidden_layers must need at most 2684354"):
        MLPNCARule(CPU, 6, hidden_size, 3, hidden_layers=hidden_layers)


@pytest.mark.parametrize("normalization", [None, "layer", "rms"])
def test_a_deep_rule_normalises_the_neurons_of_each_cell(normalization: Any) -> None:
    rule = MLPNCARule(CPU, 6, 5, 3, nn.Tanh, hidden_layers=2, normalization=normalization)
    rule = rule.double()
    x = torch.randn(1, 6, 1, 1, dtype=torch.float64)
    for parameter in rule.parameters():
        nn.init.normal_(parameter)
    layers = [p.detach().flatten(1) if p.ndim > 1 else p.detach() for p in rule.parameters()]

    cell, eps = x.flatten(), torch.finfo(torch.float64).eps
    for _ in range(2):
        weight, bias = layers.pop(0), layers.pop(0)
        cell = weight @ cell + bias
        if normalization == "layer":
            cell = (cell - cell.mean()) / (cell.var(correction=0) + 1e-5).sqrt()
            cell = layers.pop(0) * cell + layers.pop(0)
        elif normalization == "rms":
            cell = layers.pop(0) * cell / (cell.square().mean() + eps).sqrt()
        cell = cell.tanh()

    torch.testing.assert_close(rule(x).flatten(), layers.pop(0) @ cell)


def test_a_gated_rule_is_a_recurrent_unit_whose_memory_is_the_state() -> None:
    rule = GatedNCARule(CPU, 6, 5, 3).double()
    nn.init.ones_(rule.gain)
    perceived = torch.randn(1, 6, 1, 1, dtype=torch.float64)
    features = rule.features(perceived).relu().flatten()
    state = perceived.flatten()[:3]

    assert rule.gates.bias is not None and rule.candidate.bias is not None
    gates = rule.gates.weight.flatten(1) @ torch.cat([features, state]) + rule.gates.bias
    reset, update = gates.sigmoid().split(3)
    within = rule.candidate.weight.flatten(1) @ features + rule.candidate.bias
    candidate = (within + rule.candidate_of_state.weight.flatten(1) @ (reset * state)).tanh()

    after = state + rule(perceived).flatten()
    torch.testing.assert_close(after, (1 - update) * state + update * candidate)


def test_a_gated_rule_needs_to_see_the_state() -> None:
    with pytest.raises(ValueError, match="output_size must be at most input_size = 2, got 3"):
        GatedNCARule(CPU, 2, 5, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_layers": 0}, "hidden_layers must be at least 1, got 0"),
        ({"normalization": "batch"}, "normalization must be one of layer, rms, got 'batch'"),
    ],
)
def test_bad_arguments_of_a_deep_rule_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MLPNCARule(CPU, 6, 5, 3, **arguments)


@pytest.mark.parametrize(
    ("rule", "arguments"),
    [
        (MLPNCARule, None),
        (MLPNCARule, {"nonlinearity": nn.Tanh}),
        (MLPNCARule, {"hidden_layers": 3, "normalization": "rms"}),
        (GatedNCARule, None),
    ],
)
def test_the_given_rules_pass_the_check(
    rule: type[AbstractNCARule], arguments: dict[str, Any] | None
) -> None:
    before = torch.get_rng_state()

    check_rule(rule, arguments)

    assert torch.equal(torch.get_rng_state(), before)


class Wrong(MLPNCARule):
    """The standard rule with a fault."""

    def __init__(self, *sizes: Any, fault: str = "", extra: Any = None) -> None:
        device, inputs, hidden, outputs = sizes
        super().__init__(device, inputs, hidden, outputs, nn.Tanh)
        self.fault = fault
        if fault == "unused":
            self.unused = nn.Parameter(torch.ones(3))
        if fault == "start":
            nn.init.ones_(self.last_layer.weight)

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = super().forward(x)
        if self.fault == "size":
            return update[:, :, 1:]
        if self.fault == "dtype":
            return update.float()
        if self.fault == "neighbours":
            return update + update.roll(1, dims=2)
        if self.fault == "chance":
            return nn.functional.dropout(update)
        if self.fault == "gradient":
            return update + update.detach()
        return update

    def freeze(self, freeze_last: bool = False) -> None:
        if self.fault != "freeze":
            super().freeze(freeze_last)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        state = super().state_dict(*args, **kwargs)
        return {k: 0 * v if self.fault == "forget" else v for k, v in state.items()}


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("size", r"must map \(2, 12, 4, 3\) to \(2, 4, 4, 3\), got \(2, 4, 3, 3\)"),
        ("dtype", "must keep the dtype torch.float64, got torch.float32"),
        ("start", "must change nothing before training"),
        ("neighbours", "must be pointwise, but .*whose updates of a cell depend on other cells"),
        ("chance", "must be pointwise, but .*other updates for the same cells"),
        ("gradient", "must have right gradients, but"),
        ("unused", "must use its parameter unused, which has no gradient"),
        ("freeze", "must freeze all its layers if asked"),
        ("forget", "must be the same when built from what is saved of it"),
    ],
)
def test_the_check_names_what_is_wrong(fault: str, message: str) -> None:
    with pytest.raises(AssertionError, match=message):
        check_rule(Wrong, {"fault": fault})


def test_the_check_finds_arguments_that_cannot_be_saved() -> None:
    with pytest.raises(AssertionError, match="must have arguments that can be saved: rule_args"):
        check_rule(Wrong, {"extra": object()})
