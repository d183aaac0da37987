"""Second derivatives of the fast engine are those of the reference."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from torch import Tensor, nn
from torch.autograd.functional import hessian, hvp, jacobian, vhp
from torch.func import functional_call

from ncalab.core.fire import FireClock
from ncalab.core.rollout import rollout, why_not_fused
from ncalab.core.rollout.cpu import compiled
from ncalab.core.rollout.double_backward import replay_backward
from ncalab.core.rollout.replay import replay
from ncalab.core.rollout.spec import RolloutSpec, parameters_of

# torch itself scripts the formulas of its forward mode.
FORWARD_MODE = "ignore:`torch.jit:DeprecationWarning"
SMOOTH = {"rule_args": {"nonlinearity": nn.Tanh}, "hidden_size": 4, "num_hidden_channels": 1}
CASES: dict[str, dict[str, Any]] = {
    "fixed filters": {},
    "learned filters": {"num_learned_filters": 2, "filter_padding": "circular"},
    "time": {"use_temporal_encoding": True, "immutable_image_channels": False},
    "alive": {"use_alive_mask": True, "immutable_image_channels": False, "fire_rate": 1.0},
    "relu": {"rule_args": None, "immutable_image_channels": False},
}


@pytest.fixture(params=["fastest", "torch"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let each of the engines for the CPU be the one that serves."""
    if request.param == "torch":
        monkeypatch.setattr(compiled, "why_not_compiled", lambda *_: "the other one is tested")
    return "fused"


def exact(make_model: MakeModel, case: str = "fixed filters") -> TinyModel:
    return make_model(**{**SMOOTH, **CASES[case]}).double()


def states(model: TinyModel, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(batch, model.num_channels, 3, 2, generator=generator, dtype=torch.float64)


def score(model: TinyModel, engine: Any, **options: Any) -> Callable[[Tensor], Tensor]:
    """Return a scalar function of the states."""
    return lambda x: rollout(model, x, 3, seed=1, engine=engine, **options).sigmoid().sum()


def assert_same(got: Tensor, want: Tensor) -> None:
    assert want.abs().sum() > 1e-4
    torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("checkpoint", [None, 2])
def test_a_hessian_is_that_of_the_reference(
    make_model: MakeModel, engine: str, case: str, checkpoint: int | None
) -> None:
    model = exact(make_model, case)
    x = states(model)

    got = hessian(score(model, engine, checkpoint=checkpoint), x)

    assert_same(got, hessian(score(model, "reference"), x))


PRODUCTS: dict[str, Callable[[Any, Tensor], Any]] = {
    "hvp": lambda f, x: hvp(f, x, torch.ones_like(x))[1],
    "vhp": lambda f, x: vhp(f, x, torch.ones_like(x))[1],
    "hessian, vectorised": lambda f, x: hessian(f, x, vectorize=True),
    "hessian, forward over reverse": lambda f, x: hessian(
        f, x, vectorize=True, outer_jacobian_strategy="forward-mode"
    ),
    "jacobian": lambda f, x: jacobian(f, x),
    "jacobian, vectorised": lambda f, x: jacobian(f, x, vectorize=True),
    "jacobian, forward": lambda f, x: jacobian(f, x, vectorize=True, strategy="forward-mode"),
    "torch.func.hessian": lambda f, x: torch.func.hessian(f)(x),
    "torch.func.vjp of vjp": lambda f, x: torch.func.grad(
        lambda z: torch.func.grad(f)(z).square().sum()
    )(x),
}


@pytest.mark.filterwarnings(FORWARD_MODE)
@pytest.mark.parametrize("product", PRODUCTS)
def test_all_ways_to_a_derivative_agree_with_the_reference(
    make_model: MakeModel, engine: str, product: str
) -> None:
    model = exact(make_model)
    x = states(model)

    got = PRODUCTS[product](score(model, "auto"), x)

    assert_same(got, PRODUCTS[product](score(model, "reference"), x))


def penalised(model: TinyModel, engine: Any) -> list[Tensor]:
    """Return gradients of a gradient penalty."""
    model.zero_grad()
    x = states(model, batch=2).requires_grad_()
    loss = rollout(model, x, 3, seed=1, engine=engine).square().sum()
    (slope,) = torch.autograd.grad(loss, x, create_graph=True)
    (loss + (slope.flatten(1).norm(dim=1) - 1).square().sum()).backward()
    return [leaf.grad for leaf in (x, *model.parameters()) if leaf.grad is not None]


@pytest.mark.parametrize("case", CASES)
def test_a_gradient_penalty_trains_as_with_the_reference(
    make_model: MakeModel, engine: str, case: str
) -> None:
    model = exact(make_model, case)

    got, want = penalised(model, engine), penalised(model, "reference")

    assert len(got) == len(want) == 1 + len(list(model.parameters()))
    for fused, reference in zip(got, want, strict=True):
        assert_same(fused, reference)


def test_second_and_third_derivatives_equal_finite_differences(make_model: MakeModel) -> None:
    model = exact(make_model, "learned filters")
    x = states(model).requires_grad_()

    def run(x: Tensor, *parameters: Tensor) -> Tensor:
        return rollout(model, x, 2, seed=1, engine="fused")

    def slope(x: Tensor) -> Tensor:
        return torch.autograd.grad(run(x).sigmoid().sum(), x, create_graph=True)[0]

    assert torch.autograd.gradgradcheck(run, (x, *model.parameters()), fast_mode=True)
    assert torch.autograd.gradgradcheck(slope, (x,), fast_mode=True)


@pytest.mark.parametrize("engine", ["fused", "reference"])
def test_states_computed_from_the_parameters_count_each_path_once(
    make_model: MakeModel, engine: Any
) -> None:
    model = exact(make_model)
    bias = model.rule.get_parameter("network.0.bias")
    base = states(model)

    def loss(shift: Tensor) -> Any:
        weights = {"rule.network.0.bias": bias.detach() + shift}
        x = base + shift.sum()
        after = functional_call(model, weights, (x, 3), {"seed": 1, "engine": engine})
        return after.output_image.sigmoid().sum()

    shift = torch.full_like(bias, 0.1, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (shift,))
    assert torch.autograd.gradgradcheck(loss, (shift,))


def adapted(model: TinyModel, engine: Any) -> list[Tensor]:
    """Return gradients of a loss after an inner step of learning, as in MAML."""
    x = states(model)
    weights: dict[str, Tensor] = dict(model.named_parameters())
    options = {"seed": 1, "engine": engine}
    inner = functional_call(model, weights, (x, 3), options).logits.square().sum()
    slopes = torch.autograd.grad(inner, list(weights.values()), create_graph=True)
    moved = {name: w - 0.1 * s for (name, w), s in zip(weights.items(), slopes, strict=True)}
    outer = functional_call(model, moved, (x, 3), options).logits.square().sum()
    return list(torch.autograd.grad(outer, list(weights.values())))


def test_learning_to_learn_is_that_of_the_reference(make_model: MakeModel) -> None:
    model = exact(make_model, "learned filters")

    for got, want in zip(adapted(model, "fused"), adapted(model, "reference"), strict=True):
        assert_same(got, want)


def test_what_changes_after_a_rollout_does_not_change_its_derivatives(
    make_model: MakeModel,
) -> None:
    model = exact(make_model, "time")
    x = states(model).requires_grad_()
    want = hessian(score(model, "reference"), x)

    def later(x: Tensor) -> Tensor:
        after = score(model, "fused")(x)
        model.fire_rate, model.training_timesteps, model.filter_padding = 0.1, 3, "zero"
        return after

    assert_same(hessian(later, x), want)


def test_autocast_around_a_backward_pass_changes_nothing(make_model: MakeModel) -> None:
    model = exact(make_model).float()
    x = states(model).float().requires_grad_()

    def slope() -> Tensor:
        loss = score(model, "fused")(x)
        with torch.autocast("cpu", torch.bfloat16):
            return torch.autograd.grad(loss, x, create_graph=True)[0]

    with torch.autocast("cpu", enabled=False):
        (want,) = torch.autograd.grad(score(model, "reference")(x), x)
    torch.testing.assert_close(slope(), want)


@pytest.mark.filterwarnings(FORWARD_MODE)
def test_forward_mode_is_left_to_the_reference(make_model: MakeModel) -> None:
    model = exact(make_model)
    x = states(model)

    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, torch.ones_like(x))

        assert why_not_fused(model, dual) == "derivatives are computed in forward mode"
        assert why_not_fused(model, x) is None


@pytest.mark.parametrize("case", CASES)
def test_a_replay_is_the_reference_to_the_bit(make_model: MakeModel, case: str) -> None:
    model = exact(make_model, case)
    x = states(model, batch=2)
    clock = FireClock(1, model.fire_rate, [4, 2], 2, 3, x.device)

    got = replay(RolloutSpec.from_model(model, clock), None, x, *parameters_of(model))

    options: dict[str, Any] = {"start": 2, "seed": 1, "samples": [4, 2], "engine": "reference"}
    assert torch.equal(got, rollout(model, x, 3, **options))


def test_only_what_is_needed_is_differentiated() -> None:
    x, y = (torch.tensor(value, requires_grad=True) for value in (2.0, 3.0))

    with torch.no_grad():
        got = replay_backward(torch.mul, (x, y), torch.tensor(1.0), (False, True))

    assert got[0] is None
    assert got[1] is not None
    assert got[1].item() == 2.0
    assert not got[1].requires_grad
