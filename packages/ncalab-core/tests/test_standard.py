"""Whatever changes a step is obeyed: the reference engine serves, and says why."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from torch import Tensor, nn
from torch.nn.modules import module as all_modules
from torch.nn.utils import parametrizations

from ncalab.core import BasicNCAPerception, MLPNCARule
from ncalab.core.automaton import Automaton
from ncalab.core.rollout import rollout, tiled_rollout, why_not_fused

STEPS = 3


def part(model: TinyModel, name: str) -> Any:
    return model.get_submodule(name)


PARTS = ["perception", "rule", "rule.network", *(f"rule.network.{i}" for i in range(3))]
HOOKS: dict[str, Callable[[Any, Callable[..., None]], Any]] = {
    "forward": lambda part, note: part.register_forward_hook(lambda *_: note()),
    "forward, before": lambda part, note: part.register_forward_pre_hook(lambda *_: note()),
    "backward": lambda part, note: part.register_full_backward_hook(lambda *_: note()),
    "backward, before": lambda part, note: part.register_full_backward_pre_hook(lambda *_: note()),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_runs_at_every_step(make_model: MakeModel, name: str, hook: str) -> None:
    model = make_model()
    calls: list[str] = []
    x = torch.rand(1, 9, 4, 3, requires_grad=True)
    handle = HOOKS[hook](part(model, name), lambda: calls.append(hook))

    rollout(model, x, STEPS, seed=1).square().sum().backward()

    assert len(calls) == STEPS
    assert why_not_fused(model, x) == f"{type(part(model, name)).__name__} has a hook"
    handle.remove()
    assert why_not_fused(model, x) is None


def test_a_hook_for_all_modules_runs(make_model: MakeModel) -> None:
    model = make_model()
    seen: list[str] = []
    x = torch.rand(1, 9, 4, 3)

    handle = all_modules.register_module_forward_hook(
        lambda module, *_: seen.append(type(module).__name__)
    )
    try:
        rollout(model, x, STEPS, seed=1)
        reason = why_not_fused(model, x)
    finally:
        handle.remove()

    assert seen.count("BasicNCAPerception") == seen.count("MLPNCARule") == STEPS
    assert reason == "there is a hook for all modules"
    assert why_not_fused(model, x) is None


def double_forward(part: nn.Module) -> Callable[..., Tensor]:
    forward = part.forward
    return lambda *x: 2 * forward(*x)


@pytest.mark.parametrize("name", PARTS)
def test_a_forward_of_an_instance_is_obeyed(make_model: MakeModel, name: str) -> None:
    model = make_model(fire_rate=1.0)
    x = torch.rand(1, 9, 4, 3)
    part(model, name).forward = double_forward(part(model, name))

    got = rollout(model, x, STEPS, seed=1)

    assert torch.equal(got, rollout(model, x, STEPS, seed=1, engine="reference"))
    assert not torch.allclose(got, rollout(make_model(fire_rate=1.0), x, STEPS, seed=1))
    kind = type(part(model, name)).__name__
    assert why_not_fused(model, x) == f"forward of {kind} has been replaced"


def still(*_: Any) -> Tensor:
    return torch.zeros(1, 9, 4, 3)


@pytest.mark.parametrize(
    ("cls", "method", "replacement"),
    [
        (BasicNCAPerception, "perceive", lambda _, x, step: torch.cat([x, 2 * x, 0 * x], dim=1)),
        (BasicNCAPerception, "forward", lambda _, x, step: torch.cat([x, 2 * x, 0 * x], dim=1)),
        (MLPNCARule, "forward", still),
        (nn.Conv2d, "forward", lambda layer, x: 0.5 * layer._conv_forward(x, layer.weight, None)),
        (nn.ReLU, "forward", lambda _, x: x),
        (Automaton, "_update", still),
    ],
)
def test_a_method_of_a_class_that_is_replaced_is_obeyed(
    make_model: MakeModel,
    monkeypatch: pytest.MonkeyPatch,
    cls: type,
    method: str,
    replacement: Callable[..., Tensor],
) -> None:
    model = make_model(fire_rate=1.0)
    x = torch.rand(1, 9, 4, 3)
    before = rollout(model, x, STEPS, seed=1)

    with monkeypatch.context() as patched:
        patched.setattr(cls, method, replacement)
        got = rollout(model, x, STEPS, seed=1)
        assert torch.equal(got, rollout(model, x, STEPS, seed=1, engine="reference"))
        assert why_not_fused(model, x) == f"{method} of {cls.__name__} has been replaced"

    assert not torch.allclose(got, before)
    assert why_not_fused(model, x) is None


def test_perceive_and_time_of_an_instance_are_obeyed(make_model: MakeModel) -> None:
    x = torch.rand(1, 9, 4, 3)
    for method, replacement in (
        ("perceive", lambda x, step: torch.cat([x, x, x, x[:, :1]], dim=1)),
        ("time", lambda step: 7.0),
    ):
        model = make_model(use_temporal_encoding=True)
        before = rollout(model, x, STEPS, seed=1)
        vars(model.perception)[method] = replacement

        assert not torch.allclose(rollout(model, x, STEPS, seed=1), before)
        assert why_not_fused(model, x) == f"{method} of BasicNCAPerception has been replaced"


def wide_layer(model: TinyModel) -> None:
    part(model, "rule.network")[0] = nn.Conv2d(27, 16, 3, padding=1)


def foreign_perception(model: TinyModel) -> None:
    other = TinyModel(torch.device("cpu"), 4, 3, 2, hidden_size=16, filter_padding="zero")
    model.perception = other.perception


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (wide_layer, "the rule is a MLPNCARule, whose updates of a cell depend on other cells"),
        (foreign_perception, "the perception is that of another model"),
        (
            lambda m: parametrizations.weight_norm(m.perception, "filters"),
            "the perception is a ParametrizedBasicNCAPerception",
        ),
    ],
)
def test_other_parts_are_obeyed(
    make_model: MakeModel, change: Callable[[TinyModel], Any], reason: str
) -> None:
    model = make_model(num_learned_filters=2)
    change(model)
    x = torch.rand(1, 9, 4, 5)

    got = rollout(model, x, STEPS, seed=1)

    assert torch.equal(got, rollout(model, x, STEPS, seed=1, engine="reference"))
    assert reason in str(why_not_fused(model, x))


def test_bands_need_to_know_how_far_a_replaced_part_sees(make_model: MakeModel) -> None:
    model = make_model()
    model.rule.forward = double_forward(model.rule)

    with pytest.raises(ValueError, match="reach must be given .*forward of MLPNCARule"):
        tiled_rollout(model, torch.rand(1, 9, 8, 3), 2, progress=False)
