"""Rules as programs of the compiled engine: what they are made of, and when they are made anew."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from core_models import TinyModel
from rollout_checks import assert_threads_agree, slopes_where_used, states_and_slopes, threads
from torch import Tensor, nn

from ncalab.core import AbstractNCARule, GatedNCARule, MLPNCARule
from ncalab.core.perception import (
    AttentionView,
    IsotropicView,
    LearnedView,
    SteerableView,
    ViewsNCAPerception,
)
from ncalab.core.rollout import rollout, why_not_fused
from ncalab.core.rollout.cpu.compiled import programs
from ncalab.core.rollout.cpu.compiled.library import library
from ncalab.core.rollout.cpu.compiled.prelude import Prelude
from ncalab.core.rollout.cpu.compiled.program import Program
from ncalab.core.rollout.cpu.compiled.row_rule import function_of_cells

CPU = torch.device("cpu")
CHANNELS = 11

pytestmark = pytest.mark.skipif(
    isinstance(library(torch.float32), str), reason=str(library(torch.float32))
)


def make(**arguments: Any) -> TinyModel:
    torch.manual_seed(1)
    model = TinyModel(CPU, 4, 5, 2, **{"hidden_size": 8, **arguments})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def program_of(model: TinyModel) -> Program | None:
    banks = model.perception.filter_banks() or []
    seen = model.num_channels * (1 + sum(len(bank.filters) for bank in banks))
    context = model.perception.context_size
    return programs.program_of(model, function_of_cells(model), seen + context)


def assert_same(model: TinyModel, x: Tensor, steps: int = 3) -> None:
    fast = states_and_slopes(model, x, steps, engine="fused")
    plain = states_and_slopes(model, x, steps, engine="reference")
    for got, want in zip(fast, plain, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


def views(*listed: Any) -> dict[str, Any]:
    return {"perception_type": ViewsNCAPerception, "perception_args": {"views": list(listed)}}


KINDS: dict[str, dict[str, Any]] = {
    "gated": {"rule_type": GatedNCARule},
    "deep": {"rule_args": {"hidden_layers": 3, "nonlinearity": nn.SiLU}},
    "layer": {"rule_args": {"normalization": "layer", "nonlinearity": nn.PReLU}},
    "rms": {"rule_args": {"normalization": "rms", "nonlinearity": nn.Softplus}},
    "goal": {"goal_size": 3, "rule_type": GatedNCARule},
    "time": {"use_temporal_encoding": True, "rule_type": GatedNCARule},
    "isotropic": views((IsotropicView, {"determinants": 3})),
    "isotropic, 3-D": {**views((IsotropicView, {"determinants": 3})), "spatial_dims": 3},
    "another activation in 3-D": {"rule_args": {"nonlinearity": nn.GELU}, "spatial_dims": 3},
    "steerable": views((SteerableView, {"angle_channel": 2}), LearnedView),
}


@pytest.mark.parametrize("name", KINDS)
def test_the_librarys_kinds_of_cells_are_programs(name: str) -> None:
    assert program_of(make(**KINDS[name])) is not None


class ComputedRule(AbstractNCARule):
    """A rule that a test writes as a function of itself and what cells perceive."""

    pointwise = True
    compute: Callable[[Any, Tensor], Tensor]

    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        self.layer = nn.Conv2d(self.input_size, self.output_size, 1)
        self.other = nn.Linear(self.input_size, self.output_size, bias=False)
        self.scale = nn.Parameter(torch.linspace(0.5, 1.5, self.output_size))
        self.one = nn.Parameter(torch.tensor(0.7))
        self.level = 0.5

    def forward(self, x: Tensor) -> Tensor:
        return type(self).compute(self, x)

    def freeze(self, freeze_last: bool = False) -> None:
        self.requires_grad_(not freeze_last)


def rows(x: Tensor) -> Tensor:
    return x.movedim(1, -1)


def cells(x: Tensor) -> Tensor:
    return x.movedim(-1, 1)


def in_place(rule: Any, x: Tensor) -> Tensor:
    update: Tensor = rule.layer(x)
    update.mul_(rule.level)
    update += x[:, :CHANNELS]
    return update.tanh_()


COMPUTED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "exp": lambda r, x: r.layer(x).exp(),
    "square": lambda r, x: r.layer(x).square() + r.layer(x) ** 2,
    "root": lambda r, x: (r.layer(x).square() + 0.1).sqrt(),
    "inverse root": lambda r, x: (r.layer(x) ** 2 + 0.1) ** -0.5,
    "inverse": lambda r, x: 1 / (r.layer(x).exp() + 1),
    "absolute": lambda r, x: r.layer(x).abs(),
    "sine and cosine": lambda r, x: (3 * r.layer(x)).sin() + (5 * r.layer(x)).cos(),
    "softplus": lambda r, x: F.softplus(5 * r.layer(x)),
    "gelu": lambda r, x: F.gelu(3 * r.layer(x)),
    "elu": lambda r, x: F.elu(r.layer(x), 0.5),
    "leaky": lambda r, x: F.leaky_relu(r.layer(x), 0.3),
    "silu": lambda r, x: F.silu(r.layer(x)),
    "clamp": lambda r, x: r.layer(x).clamp(-0.1, 0.2) + r.layer(x).clamp(min=0.1),
    "numbers": lambda r, x: 1 - 2 * r.layer(x) / 3 + torch.rsub(r.layer(x), 0.5, alpha=0.2),
    "minus": lambda r, x: -r.layer(x),
    "parameters": lambda r, x: (
        r.layer(x) * r.scale[:, None, None] + r.one - r.scale.view(1, -1, 1, 1)
    ),
    "quotients": lambda r, x: r.layer(x) / (x[:, :CHANNELS].exp() + 1) + r.one / (x[:, :1] + 5),
    "one for all": lambda r, x: r.layer(x) * x[:, 2:3] + x[:, 3:4],
    "mean": lambda r, x: r.layer(x) - x.mean(dim=1, keepdim=True),
    "sum": lambda r, x: r.layer(x) + x.unflatten(1, (3, CHANNELS)).sum(dim=1),
    "narrow sum": lambda r, x: r.layer(x) * x[:, :6].unflatten(1, (3, 2)).sum(dim=2)[:, 1:2],
    "softmax": lambda r, x: r.layer(x).softmax(dim=1),
    "columns": lambda r, x: (
        r.layer(x.flip(1))
        + x.unflatten(1, (3, -1)).transpose(1, 2).flatten(1, 2)[:, 5 : 5 + CHANNELS]
    ),
    "chunks": lambda r, x: torch.cat(
        [part.tanh() for part in r.layer(x).split([1, 4, 6], dim=1)], dim=1
    ),
    "stack": lambda r, x: torch.stack([r.layer(x), x[:, :CHANNELS]], dim=1).mean(dim=1),
    "linear": lambda r, x: cells(r.other(rows(x))) + r.layer(x),
    "product": lambda r, x: cells(rows(x) @ r.other.weight.t()) + r.layer(x),
    "layer norm": lambda r, x: cells(F.layer_norm(rows(r.layer(x)), (CHANNELS,), r.scale)),
    "rms norm": lambda r, x: cells(F.rms_norm(rows(r.layer(x)), (CHANNELS,), r.scale)),
    "computed weights": lambda r, x: F.conv2d(x, r.layer.weight * r.one.exp(), r.scale * 2),
    "in place": in_place,
    "twice": lambda r, x: r.layer(x) * r.layer(x),
    "read twice": lambda r, x: (lambda h: h.relu() + h)(r.layer(x)),
    "part of what is seen": lambda r, x: (
        x[:, :CHANNELS] * x[:, CHANNELS : 2 * CHANNELS] + r.layer(x)
    ),
}


def own(compute: Callable[[Any, Tensor], Tensor]) -> TinyModel:
    model = make(rule_type=ComputedRule, use_alive_mask=True, fire_rate=0.6)
    assert isinstance(model.rule, ComputedRule)
    ComputedRule.compute = compute
    return model.double()


@pytest.mark.parametrize("name", COMPUTED)
def test_what_a_rule_computes_is_what_its_program_computes(name: str) -> None:
    model = own(COMPUTED[name])
    x = torch.rand(2, CHANNELS, 5, 8, dtype=torch.float64)

    assert why_not_fused(model, x) is None
    assert program_of(model) is not None
    after = rollout(model, x, 1, seed=1)
    assert not torch.equal(after, x)
    for parameter in model.rule.parameters():  # not every rule uses all of them
        parameter.requires_grad_()
    fast, plain = (slopes_where_used(model, x, engine) for engine in ("fused", "reference"))
    for got, want in zip(fast, plain, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(
    "compute",
    [
        lambda r, x: torch.erf(r.layer(x)),
        lambda r, x: r.layer(x).cumsum(dim=1),
        lambda r, x: torch.einsum("oi,binm->bonm", r.other.weight, x) + r.layer(x),
        lambda r, x: r.layer(x) * torch.where(x[:, :1] > 0, 1.0, 2.0),
        lambda r, x: r.layer(x) * r.scale[r.scale > 0.9].sum(),
    ],
    ids=["erf", "cumsum", "einsum", "where", "a number of parameters that depends on them"],
)
def test_other_operations_are_called_on_rows(compute: Callable[[Any, Tensor], Tensor]) -> None:
    assert_called_on_rows(own(compute))


class PassingClamp(torch.autograd.Function):
    """A clamp that lets all gradients pass."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clamp(-0.1, 0.1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return gradient


def without_gradient(function: Callable[[], Tensor]) -> Tensor:
    with torch.no_grad():
        return function()


def hooked(rule: Any, x: Tensor) -> Tensor:
    update: Tensor = rule.layer(x)
    if update.requires_grad:
        update.register_hook(lambda slope: 0.5 * slope)
    return update


STOPPED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "gate": lambda r, x: r.layer(x) * torch.sigmoid(r.layer(x).detach() + r.scale.view(-1, 1, 1)),
    "straight through": lambda r, x: (lambda y: y + (y.clamp(-0.05, 0.05) - y).detach())(
        r.layer(x)
    ),
    "block": lambda r, x: r.layer(x) * without_gradient(lambda: x[:, :CHANNELS].sigmoid()),
    "block of weights": lambda r, x: F.conv2d(x, without_gradient(lambda: r.layer.weight * 2)),
    "function": lambda r, x: PassingClamp.apply(r.layer(x)),  # type: ignore[no-untyped-call]  # torch leaves it untyped
    "hook": hooked,
}


@pytest.mark.parametrize("name", STOPPED)
def test_gradients_that_a_rule_stops_or_changes_are_the_rules(name: str) -> None:
    assert_called_on_rows(own(STOPPED[name]))


@pytest.mark.parametrize("name", STOPPED)
def test_they_are_noticed_in_an_untrained_rule_of_float32(name: str) -> None:
    model = own(STOPPED[name]).float()
    with torch.no_grad():
        for parameter in model.rule.parameters():
            parameter.zero_()

    assert program_of(model) is None


TAKEN_AS_NUMBERS: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "clamp": lambda r, x: torch.clamp(r.layer(x), max=r.one - 0.6),
    "clamp by a computed number": lambda r, x: torch.clamp(r.layer(x), min=r.one.exp() - 2.1),
    "clamp of each channel": lambda r, x: torch.clamp(r.layer(x), min=r.scale[None, :, None, None]),
    "clamp from above to below": lambda r, x: r.layer(x).clamp(0.2, -0.2),
    "number of a parameter": lambda r, x: r.layer(x) * r.one.item(),
    "list of a parameter": lambda r, x: r.layer(x) * r.one.tolist(),
    "array of a parameter": lambda r, x: r.layer(x) * float(r.one.detach().numpy()),
    "power": lambda r, x: (r.layer(x).abs() + 1) ** r.one,
    "slope": lambda r, x: torch.where(r.layer(x) > 0, r.layer(x), r.one * r.layer(x)),
    "sharpness": lambda r, x: F.softplus(r.layer(x), beta=r.one.item()),
    "lerp": lambda r, x: torch.lerp(r.layer(x), x[:, :CHANNELS], r.one),
    "addcmul": lambda r, x: torch.addcmul(r.layer(x), x[:, :CHANNELS], r.one, value=0.3),
    "threshold": lambda r, x: F.threshold(r.layer(x), r.one.item() - 0.6, 0.1),
}


@pytest.mark.parametrize("name", TAKEN_AS_NUMBERS)
def test_numbers_that_are_tensors_stay_tensors(name: str) -> None:
    model = own(TAKEN_AS_NUMBERS[name])

    assert_called_on_rows(model)
    with torch.no_grad():
        model.rule.get_parameter("one").sub_(0.3)
    assert_called_on_rows(model)


REFUSED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "rounded quotient": lambda r, x: (
        torch.div(r.layer(x), 0.1, rounding_mode="floor") * x.mean(1, keepdim=True)
    ),
    "quotient by zero": lambda r, x: torch.nan_to_num(r.layer(x) / 0, 0.0, 1.0, -1.0),
    "another dtype": lambda r, x: (r.layer(x) > 0) * r.layer(x).relu(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_translated_is_called_on_rows(name: str) -> None:
    assert_called_on_rows(own(REFUSED[name]))


def test_indices_that_are_computed_of_a_buffer_are_those_of_the_moment() -> None:
    model = own(lambda r, x: r.layer(x) * x[:, r.places + 1])
    places = torch.arange(CHANNELS)
    model.rule.register_buffer("places", places)
    assert_called_on_rows(model)

    places.add_(3)

    assert_called_on_rows(model)


def assert_called_on_rows(model: TinyModel) -> None:
    x = torch.rand(2, CHANNELS, 5, 8, dtype=torch.float64)
    assert why_not_fused(model, x) is None
    assert program_of(model) is None
    fast, plain = (slopes_where_used(model, x, engine) for engine in ("fused", "reference"))
    for got, want in zip(fast, plain, strict=True):
        torch.testing.assert_close(got, want, atol=1e-9, rtol=1e-9, equal_nan=True)


@pytest.mark.parametrize("normalization", ["layer", "rms"])
def test_small_weights_before_a_norm_leave_a_program(normalization: str) -> None:
    model = make(rule_args={"normalization": normalization})
    with torch.no_grad():
        model.rule.get_parameter("network.0.weight").mul_(1e-3)
        model.rule.get_parameter("network.0.bias").mul_(1e-3)

    assert program_of(model) is not None


def test_a_rule_is_translated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    translated: list[Any] = []
    translate: Any = vars(programs)["translate"]

    def counted(*given: Any) -> Any:
        translated.append(given)
        return translate(*given)

    monkeypatch.setattr(programs, "translate", counted)
    for model in (own(STOPPED["gate"]), own(COMPUTED["exp"])):
        for _ in range(3):
            rollout(model, torch.rand(1, CHANNELS, 4, 4, dtype=torch.float64), 2).sum().backward()

    assert len(translated) == 2


def test_attention_is_called_on_rows() -> None:
    assert program_of(make(**views(AttentionView))) is None


def test_a_program_is_kept() -> None:
    model = make(rule_type=GatedNCARule)

    assert program_of(model) is program_of(model)


def test_a_rule_that_was_changed_is_read_again() -> None:
    model = own(lambda r, x: r.level * r.layer(x))
    x = torch.rand(1, CHANNELS, 4, 4, dtype=torch.float64)
    assert_same_states(model, x)
    before = program_of(model)

    assert isinstance(model.rule, ComputedRule)
    model.rule.level = 2.0

    assert program_of(model) is not before
    assert_same_states(model, x)


GAIN = 1.0


class Settings:
    """An object whose representation does not show what it holds."""

    gain = 1.0


class ScaledRule(ComputedRule):
    """A rule that reads numbers of its class, its module and an object."""

    gain = 1.0

    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        self.settings = Settings()

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.layer(x) * self.gain * GAIN * self.settings.gain
        return update


@pytest.mark.parametrize("place", ["class", "module", "object"])
def test_numbers_outside_of_the_rule_are_those_of_the_moment(
    place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(rule_type=ScaledRule).double()
    x = torch.rand(1, CHANNELS, 4, 4, dtype=torch.float64)
    assert_same_states(model, x)
    assert program_of(model) is not None

    if place == "class":
        monkeypatch.setattr(ScaledRule, "gain", 0.5)
    elif place == "module":
        monkeypatch.setitem(globals(), "GAIN", 0.5)
    else:
        vars(model.rule)["settings"].gain = 0.5

    assert_same_states(model, x)


def assert_same_states(model: TinyModel, x: Tensor) -> None:
    fast, plain = (rollout(model, x, 2, seed=1, engine=e) for e in ("fused", "reference"))
    torch.testing.assert_close(fast, plain, atol=1e-9, rtol=0)


def test_an_activation_that_was_replaced_is_read_again() -> None:
    model = make(rule_args={"hidden_layers": 2}).double()
    x = torch.rand(1, CHANNELS, 4, 4, dtype=torch.float64)
    assert_same_states(model, x)
    assert isinstance(model.rule, MLPNCARule)

    model.rule.network[3] = nn.Tanh()

    assert_same_states(model, x)


def test_parameters_are_those_of_the_moment() -> None:
    model = make(rule_type=GatedNCARule).double()
    x = torch.rand(1, CHANNELS, 4, 4, dtype=torch.float64)
    assert_same_states(model, x)

    with torch.no_grad():
        model.rule.get_parameter("features.weight").mul_(2)
    model.rule.gain = nn.Parameter(torch.full((CHANNELS,), 0.3, dtype=torch.float64))

    assert_same_states(model, x)


def test_sums_of_gradients_need_no_values(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make(rule_type=GatedNCARule)
    x = torch.rand(1, CHANNELS, 4, 4)
    assert program_of(model) is not None  # compared with its rule here, which runs it
    ran: list[Any] = []
    run: Any = Prelude.run

    def counted(*given: Any) -> Any:
        ran.append(given)
        return run(*given)

    monkeypatch.setattr(Prelude, "run", counted)

    loss = rollout(model, x, 2).sum()
    forward = len(ran)
    loss.backward()

    # Once for the steps that are undone, and once for autograd.
    assert (forward, len(ran) - forward) == (1, 2)


@pytest.mark.parametrize("name", ["gated", "layer", "time", "steerable"])
@pytest.mark.parametrize("batch", [1, 3])
def test_two_threads_give_what_one_gives(name: str, batch: int) -> None:
    model = make(**KINDS[name])
    x = torch.rand(batch, CHANNELS, 80, 70)

    with threads(1):
        alone = states_and_slopes(model, x, 4)
    with threads(2):
        shared = [states_and_slopes(model, x, 4) for _ in range(2)]

    assert_threads_agree(alone, shared)


@pytest.mark.parametrize("name", ["gated", "rms", "isotropic"])
def test_a_sample_alone_gives_what_it_gives_in_a_batch(name: str) -> None:
    model = make(use_alive_mask=True, **KINDS[name])
    x = torch.rand(4, CHANNELS, 9, 6)

    together = rollout(model, x, 6, seed=2)

    for n in range(4):
        alone = rollout(model, x[n : n + 1], 6, seed=2, samples=[n])
        assert torch.equal(alone[0], together[n])


def test_many_channels_and_neurons_have_programs_too() -> None:
    torch.manual_seed(0)
    model = TinyModel(CPU, 4, 37, 2, hidden_size=70, rule_type=GatedNCARule).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))

    assert_same(model, torch.rand(2, 43, 9, 7, dtype=torch.float64))


def test_what_is_perceived_of_large_angles_is_right() -> None:
    model = make(**views((SteerableView, {"angle_channel": 5})), fire_rate=1.0)
    x = torch.rand(1, CHANNELS, 4, 5)
    x[:, 5] = torch.tensor([0.0, 1e3, -1e4, 3e5, 2e6])

    fast, plain = (rollout(model, x, 1, engine=e) for e in ("fused", "reference"))

    torch.testing.assert_close(fast, plain, atol=1e-4, rtol=1e-5)
