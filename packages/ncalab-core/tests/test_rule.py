import pytest
import torch
from torch import nn

from ncalab.core import MLPNCARule

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
