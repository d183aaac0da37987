"""Rules that treat each cell by itself run on the fast engine, whatever they compute."""

from collections.abc import Callable
from threading import Lock
from typing import Any

import pytest
import torch
from core_models import TinyModel
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_checks import assert_gradients_agree, states_and_slopes
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from ncalab.core import AbstractNCARule, GatedNCARule, MLPNCARule
from ncalab.core.rollout import rollout, tiled_rollout, why_not_fused
from ncalab.core.rollout.cpu.compiled.library import library

CPU = torch.device("cpu")

pytestmark = pytest.mark.skipif(
    isinstance(library(torch.float32), str), reason=str(library(torch.float32))
)


class Own(AbstractNCARule):
    """A rule as a user may write it: two layers that share one tensor, a buffer, a product."""

    pointwise = True

    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        self.layer = nn.Conv2d(self.input_size, self.output_size, 1)
        self.again = nn.Conv2d(self.input_size, self.output_size, 1, bias=False)
        self.again.weight = self.layer.weight
        self.register_buffer("shift", torch.linspace(0, 1, self.output_size)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = self.layer(x).tanh() * (self.again(x) + self.shift).sigmoid()
        return update * x[:, : self.output_size].mean(dim=1, keepdim=True)

    def freeze(self, freeze_last: bool = False) -> None:
        self.requires_grad_(not freeze_last)


RULES: dict[str, dict[str, Any]] = {
    "own": {"rule_type": Own},
    "gated": {"rule_type": GatedNCARule},
    "deep": {"rule_args": {"hidden_layers": 2, "nonlinearity": nn.Tanh}},
    "layer": {"rule_args": {"normalization": "layer", "nonlinearity": nn.PReLU}},
    "rms": {"rule_args": {"normalization": "rms", "nonlinearity": nn.Softplus}},
}


def make(name: str, **arguments: Any) -> TinyModel:
    torch.manual_seed(1)
    model = TinyModel(CPU, 4, 5, 2, hidden_size=8, **RULES[name], **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def assert_same(model: TinyModel, x: Tensor, steps: int, **options: Any) -> None:
    fast = states_and_slopes(model, x, steps, engine="fused", **options)
    plain = states_and_slopes(model, x, steps, engine="reference", **options)
    torch.testing.assert_close(fast[0], plain[0], atol=1e-10, rtol=0)
    assert_gradients_agree(fast[1:], plain[1:], relative=1e-9, rounding=1e-13)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_any_pointwise_rule_equals_the_reference(data: st.DataObject) -> None:
    arguments = data.draw(
        st.fixed_dictionaries(
            {
                "filter_padding": st.sampled_from(["zero", "reflect", "replicate", "circular"]),
                "num_learned_filters": st.sampled_from([0, 2]),
                "fire_rate": st.sampled_from([0.0, 0.3, 1.0]),
                "use_alive_mask": st.booleans(),
                "use_temporal_encoding": st.booleans(),
                "immutable_image_channels": st.booleans(),
                "dt": st.sampled_from([1.0, 0.3]),
            }
        )
    )
    model = make(data.draw(st.sampled_from(sorted(RULES))), **arguments).double()
    shape = [data.draw(st.integers(1, most)) for most in (3, 6, 7)]
    x = torch.randn(shape[0], 11, *shape[1:], dtype=torch.float64)

    with pytest.MonkeyPatch.context() as patch:
        if data.draw(st.booleans()):
            call_on_rows(patch)
        assert_same(model, x, 3, checkpoint=data.draw(st.sampled_from([None, 2])))


def call_on_rows(patch: pytest.MonkeyPatch) -> None:
    """Let rules be called on rows that could be programs."""
    patch.setattr("ncalab.core.rollout.cpu.compiled.programs.translate", lambda *_: None)


def test_a_rule_is_called_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    call_on_rows(monkeypatch)
    monkeypatch.setattr("ncalab.core.rollout.cpu.compiled.rows.BLOCK_ROWS", 7)

    assert_same(make("own").double(), torch.randn(3, 11, 5, 6, dtype=torch.float64), 3)


def test_a_frozen_rule_has_no_gradients() -> None:
    model = make("gated").double()
    model.finetune()

    assert_same(model, torch.randn(2, 11, 5, 4, dtype=torch.float64), 3)


def test_derivatives_of_derivatives_are_those_of_the_reference() -> None:
    model = make("deep", fire_rate=1.0).double()
    found = []
    for engine in ("fused", "reference"):
        x = torch.linspace(-1, 1, 11 * 6, dtype=torch.float64).view(1, 11, 2, 3).requires_grad_()
        loss = rollout(model, x, 2, seed=1, engine=engine).square().sum()
        (slope,) = torch.autograd.grad(loss, x, create_graph=True)
        found.append(torch.autograd.grad(slope.square().sum(), [x, *model.parameters()]))

    for got, want in zip(*found, strict=True):
        torch.testing.assert_close(got, want)


def test_other_parameters_are_those_of_the_call_also_in_the_backward_pass() -> None:
    model = make("layer").double()
    x = torch.randn(2, 11, 4, 5, dtype=torch.float64)
    other = {n: (0.5 * p).detach().requires_grad_() for n, p in model.named_parameters()}
    found = []
    # torch's own checkpointing would take the steps again with the model's parameters.
    for engine, checkpoint in (("fused", None), ("fused", 2), ("reference", None)):
        arguments = {"seed": 1, "engine": engine, "checkpoint": checkpoint}
        after = torch.func.functional_call(model, other, (x, 3), arguments).output_image
        found.append([after, *torch.autograd.grad(after.sum(), list(other.values()))])

    for kept, again, want in zip(*found, strict=True):
        torch.testing.assert_close(kept, want)
        torch.testing.assert_close(again, want)


def test_a_weight_that_is_computed_is_trained() -> None:
    model = make("layer").double()
    parametrizations.weight_norm(model.rule.get_submodule("network.0"))

    assert why_not_fused(model, torch.zeros(1, 11, 4, 4, dtype=torch.float64)) is None
    assert_same(model, torch.randn(2, 11, 5, 4, dtype=torch.float64), 3)


def test_tiles_know_how_far_a_pointwise_rule_sees() -> None:
    model = make("gated")
    x = torch.rand(1, 11, 40, 5)

    tiled = tiled_rollout(model, x, 5, seed=1, tile=12, progress=False)

    torch.testing.assert_close(tiled, rollout(model, x, 5, seed=1), atol=1e-6, rtol=0)


def test_half_a_step_is_half_as_long() -> None:
    model = make("own", fire_rate=1.0, immutable_image_channels=False)
    x = torch.rand(1, 11, 4, 4)
    whole = rollout(model, x, 1) - x

    model.dt = 0.5

    torch.testing.assert_close(rollout(model, x, 1) - x, whole / 2)
    assert TinyModel.from_dict(model.to_dict()).dt == 0.5


class Claims(MLPNCARule):
    """A rule that declares to be pointwise, whatever it is told to do."""

    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        self.register_buffer("calls", torch.zeros(1))
        self.modify: Callable[[Tensor], Tensor] = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        return self.modify(super().forward(x))

    def count(self, update: Tensor) -> Tensor:
        self.get_buffer("calls").add_(1)
        return update


def claims() -> tuple[TinyModel, Claims]:
    model = TinyModel(CPU, 4, 5, 2, hidden_size=8, rule_type=Claims)
    assert isinstance(model.rule, Claims)
    return model, model.rule


OUTSIDE = torch.ones(1, requires_grad=True)


@pytest.mark.parametrize(
    ("modify", "reason"),
    [
        (lambda u: u + u.mean((2, 3), keepdim=True), "whose updates of a cell depend on other"),
        (lambda u: u - 0.5 * u.mean(0, keepdim=True), "whose updates of a sample depend on other"),
        (lambda u: u * u.shape[0], "whose updates of a sample depend on other samples"),
        (lambda u: u.double(), "whose updates have the dtype torch.float64 for parameters of"),
        (lambda u: u.no_such_method(), "which raises AttributeError on cells of a test: 'Tensor'"),
        (lambda u: u * torch.rand(()), "which gives other updates for the same cells"),
        (lambda u: u[:, :, :1], "whose updates of a grid have the shape (1, 11, 1, 3)"),
        (lambda u: u * OUTSIDE, "whose updates depend on trained tensors that are not its"),
        (None, "which changes its buffers"),
    ],
)
def test_a_rule_that_is_not_what_it_declares_runs_on_the_reference(
    modify: Callable[[Tensor], Tensor] | None, reason: str
) -> None:
    model, rule = claims()
    del rule.modify
    rule.modify = modify or rule.count

    said = why_not_fused(model, torch.zeros(1, 11, 4, 4))

    assert said is not None and said.startswith(f"the rule is a Claims, {reason}")
    assert rule.calls == 0


class ChangesInput(Own):
    """A rule that changes what it is called with."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.mul_(0.5))


def test_a_rule_that_changes_its_input_is_told_so() -> None:
    model = TinyModel(CPU, 4, 5, 2, rule_type=ChangesInput)

    reason = why_not_fused(model, torch.zeros(1, 11, 4, 4))

    assert reason == "the rule is a ChangesInput, which changes in place what it is called with"


class ForgetsToMoveBack(Own):
    """A rule whose updates have their channels last."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).movedim(1, -1)


@pytest.mark.parametrize(
    ("grid", "shapes"),
    [
        ((9,), r"\(2, 11, 9, 1\) for perceptions of shape .*, got \(2, 9, 1, 11\)"),
        ((4, 3), r"\(2, 11, 4, 3\) for perceptions of shape .*, got \(2, 4, 3, 11\)"),
        ((2, 3, 2), r"\(2, 11, 12, 1\) for perceptions of shape .*, got \(2, 12, 1, 11\)"),
    ],
)
def test_updates_of_a_wrong_shape_are_an_error(grid: tuple[int, ...], shapes: str) -> None:
    model = TinyModel(CPU, 4, 5, 2, rule_type=ForgetsToMoveBack, spatial_dims=len(grid))

    with pytest.raises(
        ValueError, match=f"^ForgetsToMoveBack must return updates of shape {shapes}"
    ):
        rollout(model, torch.rand(2, 11, *grid), 1)


class Remembers(Own):
    """A rule that counts its calls and keeps what it computes."""

    def forward(self, x: Tensor) -> Tensor:
        self.calls: int = vars(self).get("calls", 0) + 1
        self.last = super().forward(x)
        return self.last


def test_a_rule_that_keeps_what_it_computes_runs_on_the_reference() -> None:
    model = TinyModel(CPU, 4, 5, 2, rule_type=Remembers)

    reason = why_not_fused(model, torch.zeros(1, 11, 4, 4))

    assert reason is not None
    assert reason.startswith("the rule is a Remembers, which changes its attribute ")
    assert not {"calls", "last"} & vars(model.rule).keys()


def test_a_rule_that_cannot_be_copied_runs_on_the_reference() -> None:
    model = make("own")
    vars(model.rule)["lock"] = Lock()
    x = torch.rand(1, 11, 4, 4)

    reason = why_not_fused(model, x)

    assert str(reason).startswith("the rule is a Own, of which threads cannot have copies: ")
    assert torch.equal(
        rollout(model, x, 2, seed=1), rollout(model, x, 2, seed=1, engine="reference")
    )


class MixesOnRequest(Own):
    """A rule that treats each cell by itself until it is told not to."""

    mix = False

    def forward(self, x: Tensor) -> Tensor:
        update: Tensor = super().forward(x)
        return update - update.mean((0, 2, 3), keepdim=True) if self.mix else update


def test_a_rule_whose_flags_change_is_tested_again() -> None:
    model = TinyModel(CPU, 4, 5, 2, rule_type=MixesOnRequest)
    x = torch.zeros(1, 11, 4, 4)
    assert why_not_fused(model, x) is None

    vars(model.rule)["mix"] = True

    assert "depend on other cells" in str(why_not_fused(model, x))


def test_dropout_is_noticed_when_training_begins() -> None:
    model, _ = claims()
    x = torch.zeros(1, 11, 4, 4)

    assert why_not_fused(model.eval(), x) is None
    assert "other updates for the same cells" in str(why_not_fused(model.train(), x))


def test_a_rule_must_declare_that_it_is_pointwise() -> None:
    model = make("own")
    vars(model.rule)["pointwise"] = False

    reason = why_not_fused(model, torch.zeros(1, 11, 4, 4))

    assert reason == "the rule is a Own, which does not declare pointwise = True"
