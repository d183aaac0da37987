"""The check of a rule of one's own."""

import json
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from ncalab.core.config import decode_config, encode_config
from ncalab.core.rule import AbstractNCARule, why_not_pointwise

_SHAPE = (2, 4, 3)

BuildRule = Callable[[dict[str, Any] | None], AbstractNCARule]


def check_rule(
    rule_type: type[AbstractNCARule],
    rule_args: dict[str, Any] | None = None,
    *,
    input_size: int = 12,
    hidden_size: int = 8,
    output_size: int = 4,
) -> None:
    """Test a class of update rules.

    A rule must give updates of the right shape; change nothing before training; if it declares
    ``pointwise = True``, treat each cell by itself; have right gradients, which reach all of its
    parameters; freeze; and be rebuilt from what is saved of it.

    Args:
        rule_type: Class of rules.
        rule_args: Further keyword arguments of its constructor.
        input_size: Length of the perception vector of a cell.
        hidden_size: Number of hidden neurons.
        output_size: Number of channels of a cell.

    Raises:
        AssertionError: If the rule fails; the message says in what.

    >>> from ncalab.core import MLPNCARule
    >>> check_rule(MLPNCARule, {"hidden_layers": 2, "normalization": "layer"})
    """

    def build(arguments: dict[str, Any] | None) -> AbstractNCARule:
        torch.manual_seed(0)
        sizes = (input_size, hidden_size, output_size)
        return rule_type(torch.device("cpu"), *sizes, **(arguments or {})).double()

    before = torch.get_rng_state()
    try:
        batch, width, height = _SHAPE
        x = torch.randn(batch, input_size, width, height, dtype=torch.float64)
        rule = build(rule_args)
        _check_shape(rule, x, output_size)
        _require(not rule(x).count_nonzero(), "change nothing before training")
        _awaken(rule)
        if rule.pointwise:
            fault = why_not_pointwise(rule, torch.float64)
            _require(fault is None, f"be pointwise, but {fault}")
        _check_gradients(rule, x)
        _check_freezing(rule)
        _check_saving(rule, build, x, rule_args)
    finally:
        torch.set_rng_state(before)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise AssertionError(f"the rule must {what}")


def _awaken(rule: nn.Module) -> None:
    """Move parameters away from where they start: at zero, most of them have no effect."""
    with torch.no_grad():
        for parameter in rule.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))


def _check_shape(rule: AbstractNCARule, x: Tensor, output_size: int) -> None:
    update = rule(x)
    wanted = (x.shape[0], output_size, *x.shape[2:])
    _require(
        update.shape == wanted,
        f"map {tuple(x.shape)} to {wanted}, got {tuple(update.shape)}",
    )
    _require(update.dtype == x.dtype, f"keep the dtype {x.dtype}, got {update.dtype}")


def _check_gradients(rule: AbstractNCARule, x: Tensor) -> None:
    cells = x[:1, :, :2, :1].clone().requires_grad_()
    names = [name for name, _ in rule.named_parameters()]
    parameters = list(rule.parameters())

    def updates(x: Tensor, *values: Tensor) -> Tensor:
        named = dict(zip(names, values, strict=True))
        result: Tensor = torch.func.functional_call(rule, named, (x,))
        return result

    slopes = torch.autograd.grad(
        rule(x).square().sum(), parameters, allow_unused=True, materialize_grads=True
    )
    for name, slope in zip(names, slopes, strict=True):
        _require(bool(slope.count_nonzero()), f"use its parameter {name}, which has no gradient")
    leaves = [p.detach().requires_grad_() for p in parameters]
    try:
        torch.autograd.gradcheck(updates, (cells, *leaves), fast_mode=True)
    except RuntimeError as error:
        raise AssertionError(f"the rule must have right gradients, but {error}") from error


def _check_freezing(rule: AbstractNCARule) -> None:
    rule.freeze(freeze_last=False)
    _require(any(p.requires_grad for p in rule.parameters()), "leave its last layer trainable")
    rule.freeze(freeze_last=True)
    _require(not any(p.requires_grad for p in rule.parameters()), "freeze all its layers if asked")
    rule.requires_grad_()


def _check_saving(rule: AbstractNCARule, build: BuildRule, x: Tensor, rule_args: Any) -> None:
    name = type(rule).__name__
    _require(AbstractNCARule.registry.get(name) is type(rule), f"be the only one named {name}")
    try:
        saved = json.loads(json.dumps(encode_config({"rule_args": rule_args})))
    except TypeError as error:
        raise AssertionError(f"the rule must have arguments that can be saved: {error}") from error
    twin = build(decode_config(saved)["rule_args"])
    twin.load_state_dict(rule.state_dict())
    _require(torch.equal(twin(x), rule(x)), "be the same when built from what is saved of it")
