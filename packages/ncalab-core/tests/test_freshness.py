"""A program is that of what its rule reads at the moment, wherever it reads it."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from core_models import TinyModel
from torch import Tensor, nn

from ncalab.core import AbstractNCARule, GatedNCARule, MLPNCARule
from ncalab.core.rollout import rollout
from ncalab.core.rollout.cpu.compiled import programs
from ncalab.core.rollout.cpu.compiled.freshness import is_closed
from ncalab.core.rollout.cpu.compiled.library import library

pytestmark = pytest.mark.skipif(
    isinstance(library(torch.float32), str), reason=str(library(torch.float32))
)

CHANNELS = 11
GAIN = 1.0
PLACES = np.arange(CHANNELS)
SETTINGS = SimpleNamespace(inner={"gain": [1.0]})


def by_global(x: Tensor) -> Tensor:
    return x * GAIN


def by_nested(x: Tensor) -> Tensor:
    def inner() -> Tensor:
        return by_global(x)

    return inner()


def by_default(x: Tensor, gain: float = 1.0, *, offset: float = 0.0) -> Tensor:
    return x * gain + offset


def make_closure() -> tuple[Callable[[Tensor], Tensor], Callable[[float], None]]:
    gain = 1.0

    def apply(x: Tensor) -> Tensor:
        return x * gain

    def change(value: float) -> None:
        nonlocal gain
        gain = value

    return apply, change


class Halved(nn.Module):
    """A part of a rule that reads its class."""

    gain = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain

    @classmethod
    def of_class(cls) -> float:
        return cls.gain


class OwnRule(AbstractNCARule):
    """A rule whose function is given from outside."""

    pointwise = True
    compute: Any = None

    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        self.layer = nn.Conv2d(self.input_size, self.output_size, 1)
        self.part = Halved()
        self.large = np.ones(5000)
        self.order = np.arange(self.output_size)
        self.call: Any = partial(by_default, gain=1.0)
        self.flags = {"detach": False, "stop": False, "hook": False}

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = type(self).compute(self, self.layer(x))
        return update

    def freeze(self, freeze_last: bool = False) -> None:
        pass


def make(compute: Callable[[Any, Tensor], Tensor]) -> TinyModel:
    torch.manual_seed(1)
    model = TinyModel(torch.device("cpu"), 4, 5, 2, hidden_size=8, rule_type=OwnRule)
    OwnRule.compute = compute
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.double()


def results(model: TinyModel, engine: Any) -> list[Tensor]:
    x = torch.rand(1, CHANNELS, 4, 4, dtype=torch.float64, generator=torch.Generator())
    x.requires_grad_()
    states = rollout(model, x, 2, seed=1, engine=engine)
    used = [x, *model.rule.parameters()]
    loss = states.square().sum()
    slopes = torch.autograd.grad(loss, used, allow_unused=True, materialize_grads=True)
    return [states.detach(), *slopes]


def assert_fresh(model: TinyModel) -> list[Tensor]:
    fast, plain = results(model, "fused"), results(model, "reference")
    for got, want in zip(fast, plain, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)
    return fast


def translations(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return a list that gets what every translation results in."""
    found: list[Any] = []
    translate: Any = vars(programs)["translate"]

    def noted(*given: Any) -> Any:
        found.append(translate(*given))
        return found[-1]

    monkeypatch.setattr(programs, "translate", noted)
    return found


def set_large(rule: Any) -> None:
    rule.large[2500] = 0.5


def set_order(rule: Any) -> None:
    rule.order[-2:] = rule.order[[-1, -2]]


def without_gradients(x: Tensor) -> Tensor:
    with torch.no_grad():
        return x.clone()


def stopped(rule: Any, x: Tensor) -> Tensor:
    return without_gradients(x) if rule.flags["stop"] else x.clone()


def hooked(rule: Any, x: Tensor) -> Tensor:
    if rule.flags["hook"] and x.requires_grad:
        x.register_hook(lambda slope: 0.5 * slope)
    return x * 2


APPLY, CHANGE = make_closure()
_World = tuple[Callable[[Any, Tensor], Tensor], Callable[[Any], None]]
CHANGES: dict[str, _World] = {
    "global of a helper": (
        lambda _, x: by_global(x),
        lambda _: globals().__setitem__("GAIN", 0.5),
    ),
    "global of a nested helper": (
        lambda _, x: by_nested(x),
        lambda _: globals().__setitem__("GAIN", 0.25),
    ),
    "helper": (
        lambda _, x: by_nested(x),
        lambda _: globals().__setitem__("by_global", lambda x: x - 1),
    ),
    "default": (lambda _, x: by_default(x), lambda _: setattr(by_default, "__defaults__", (0.5,))),
    "keyword default": (
        lambda _, x: by_default(x),
        lambda _: setattr(by_default, "__kwdefaults__", {"offset": 0.5}),
    ),
    "closure cell": (lambda _, x: APPLY(x), lambda _: CHANGE(0.5)),
    "partial": (
        lambda r, x: r.call(x),
        lambda r: setattr(r, "call", partial(by_default, gain=0.5)),
    ),
    "keywords of a partial": (
        lambda r, x: r.call(x),
        lambda r: r.call.keywords.__setitem__("gain", 0.5),
    ),
    "class attribute of a part": (
        lambda r, x: r.part(x),
        lambda _: setattr(Halved, "gain", 0.5),
    ),
    "class attribute through a method": (
        lambda _, x: x * Halved.of_class(),
        lambda _: setattr(Halved, "gain", 0.25),
    ),
    "large array in place": (lambda r, x: x * float(r.large[2500]), set_large),
    "indices in place": (lambda r, x: x[:, torch.from_numpy(r.order)], set_order),
    "global indices in place": (
        lambda _, x: x[:, torch.from_numpy(PLACES)],
        lambda _: PLACES.__setitem__(slice(-2, None), [CHANNELS - 1, CHANNELS - 2]),
    ),
    "object within objects": (
        lambda _, x: x * SETTINGS.inner["gain"][0],
        lambda _: SETTINGS.inner["gain"].__setitem__(0, 0.5),
    ),
    "branch": (
        lambda r, x: x.detach() if r.flags["detach"] else x,
        lambda r: r.flags.__setitem__("detach", True),
    ),
    "gradients": (stopped, lambda r: r.flags.__setitem__("stop", True)),
    "hook": (hooked, lambda r: r.flags.__setitem__("hook", True)),
}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> None:
    """Undo what the changes above do outside of a rule."""
    for name in ("GAIN", "by_global"):
        monkeypatch.setitem(globals(), name, globals()[name])
    monkeypatch.setattr(Halved, "gain", 1.0)
    monkeypatch.setattr(by_default, "__defaults__", (1.0,))
    monkeypatch.setattr(by_default, "__kwdefaults__", {"offset": 0.0})
    monkeypatch.setitem(globals(), "PLACES", np.arange(CHANNELS))
    monkeypatch.setitem(SETTINGS.inner, "gain", [1.0])
    CHANGE(1.0)


@pytest.mark.usefixtures("world")
@pytest.mark.parametrize("name", CHANGES)
def test_what_a_rule_reads_is_that_of_the_moment(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute, change = CHANGES[name]
    model = make(compute)
    translated = translations(monkeypatch)
    before = assert_fresh(model)
    assert_fresh(model)
    assert len(translated) == 1 and translated[0] is not None

    change(model.rule)

    after = assert_fresh(model)
    assert any(not torch.equal(a, b) for a, b in zip(before, after, strict=True))


class OwnGradient(torch.autograd.Function):
    """The identity, with a gradient that depends on a global."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return GAIN * gradient


@pytest.mark.usefixtures("world")
def test_gradients_that_a_function_of_its_own_computes_are_those_of_the_moment() -> None:
    model = make(lambda _, x: OwnGradient.apply(x))  # type: ignore[no-untyped-call]  # torch leaves it untyped
    assert_fresh(model)

    globals()["GAIN"] = 0.5

    assert_fresh(model)


@pytest.mark.parametrize(
    "arguments",
    [
        {"rule_type": GatedNCARule},
        {"rule_args": {"hidden_layers": 2, "normalization": "rms", "nonlinearity": nn.Tanh}},
    ],
)
def test_rules_of_the_library_are_not_called_again(
    arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = TinyModel(torch.device("cpu"), 4, 5, 2, hidden_size=8, **arguments)
    x = torch.rand(1, CHANNELS, 4, 4)
    rollout(model, x, 2)
    monkeypatch.setattr(programs, "trace", None)

    rollout(model, x, 2)

    assert is_closed(model.rule)


def test_a_rule_with_an_activation_of_the_users_own_is_not_closed() -> None:
    model = TinyModel(torch.device("cpu"), 4, 5, 2, hidden_size=8, rule_args={"hidden_layers": 2})
    assert isinstance(model.rule, MLPNCARule) and is_closed(model.rule)

    model.rule.network[3] = Halved()

    assert not is_closed(model.rule)
