"""Models that can be saved come back the same; others are refused by name before any work."""

import pickle
from contextlib import nullcontext
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from ncalab.core import AbstractNCAHead, AbstractNCAModel, MLPNCARule
from ncalab.core.perception import LearnedView, SobelView, View, ViewsNCAPerception
from ncalab.core.rollout import rollout
from ncalab.core.saving import check_savable, save_weights


class MeanHead(AbstractNCAHead):
    """A head of two layers that are tied if asked for."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        if tied:
            self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = self.second(self.first(x.mean(dim=(2, 3))).relu())
        return seen

    def freeze(self, freeze_last: bool = True) -> None:
        self.requires_grad_(False)


class Square(nn.Module):
    """A parametrization that squares, and has no inverse."""

    def forward(self, x: Tensor) -> Tensor:
        return x.square()


def first_layer(model: TinyModel) -> nn.Module:
    return model.rule.get_submodule("network.0")


def prune_twice(model: TinyModel) -> None:
    prune.l1_unstructured(first_layer(model), "weight", 0.5)
    prune.ln_structured(first_layer(model), "weight", 0.25, n=2, dim=0)


REPARAMETRISED: dict[str, Any] = {
    "pruned": lambda m: prune.l1_unstructured(first_layer(m), "weight", 0.5),
    "pruned twice": prune_twice,
    "pruned filters": lambda m: prune.random_unstructured(m.perception, "filters", 0.3),
    "weight norm of old": lambda m: weight_norm(first_layer(m)),
    "spectral norm of old": lambda m: spectral_norm(first_layer(m)),
    "weight norm": lambda m: parametrizations.weight_norm(first_layer(m)),
    "spectral norm": lambda m: parametrizations.spectral_norm(first_layer(m)),
    "squared": lambda m: parametrize.register_parametrization(first_layer(m), "weight", Square()),
}


@pytest.fixture
def make_trained(make_model: MakeModel) -> Any:
    """Return a factory of models with computed weights, after a step of training."""

    def make(kind: str) -> TinyModel:
        model = make_model(num_learned_filters=2)
        with pytest.warns(FutureWarning) if kind == "weight norm of old" else nullcontext():
            REPARAMETRISED[kind](model)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        rollout(model, torch.rand(1, 9, 5, 4), 2, seed=1).square().mean().backward()
        optimizer.step()
        return model

    return make


@pytest.mark.parametrize("kind", REPARAMETRISED)
def test_computed_weights_are_saved_as_they_are(
    make_trained: Any, image: Tensor, tmp_path: Path, kind: str
) -> None:
    model = make_trained(kind)
    check_savable(model)
    model.save_pretrained(tmp_path)

    plain = TinyModel.from_pretrained(tmp_path)

    want = model.predict(image, 3, seed=2).output_image
    torch.testing.assert_close(plain.predict(image, 3, seed=2).output_image, want)
    assert type(first_layer(plain)) is nn.Conv2d


@pytest.mark.parametrize("kind", REPARAMETRISED)
def test_a_model_with_computed_weights_goes_on_from_what_it_saved(
    make_trained: Any, tmp_path: Path, kind: str
) -> None:
    model = make_trained(kind)
    model.save(tmp_path / "w")
    saved = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)

    TinyModel.load(model, tmp_path / "w")

    assert all(torch.equal(saved[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", REPARAMETRISED)
def test_other_weights_of_a_model_with_computed_ones_can_be_saved(
    make_trained: Any, image: Tensor, tmp_path: Path, kind: str
) -> None:
    model = make_trained(kind)
    best = {name: value.clone() for name, value in model.state_dict().items()}
    want = model.predict(image, 3, seed=2).output_image
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(0.5)
    now = {name: value.clone() for name, value in model.state_dict().items()}

    save_weights(model, tmp_path / "w", weights=best)

    plain = TinyModel.from_pretrained(tmp_path / "w")
    torch.testing.assert_close(plain.predict(image, 3, seed=2).output_image, want)
    assert all(torch.equal(now[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", REPARAMETRISED)
def test_a_model_with_computed_weights_is_copied_within_a_training(
    make_trained: Any, image: Tensor, kind: str
) -> None:
    model = make_trained(kind)
    want = model.predict(image, 3, seed=2).output_image

    copies = [deepcopy(model)]
    if "parametrizations" not in str(model):  # torch lets those not be pickled
        copies.append(pickle.loads(pickle.dumps(model)))

    for copied in copies:
        assert torch.equal(copied.predict(image, 3, seed=2).output_image, want)


def test_plain_weights_do_not_fit_a_pruned_model(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model()
    model.save(tmp_path / "w")
    prune.l1_unstructured(first_layer(model), "weight", 0.5)

    with pytest.raises(
        ValueError, match=r"weight_mask.*computes \['rule.network.0.weight'\].*prun"
    ):
        TinyModel.load(model, tmp_path / "w")


def with_head(model: TinyModel, head: AbstractNCAHead) -> TinyModel:
    model.head = head
    return model


def test_tied_weights_are_saved(make_model: MakeModel, image: Tensor, tmp_path: Path) -> None:
    model = with_head(make_model(), MeanHead(tied=True))
    check_savable(model)
    model.save(tmp_path / "w")

    for tied in (True, False):
        other = with_head(make_model(), MeanHead(tied=tied))
        TinyModel.load(other, tmp_path / "w")
        want = model.predict(image, 3, seed=1).logits
        assert torch.equal(other.predict(image, 3, seed=1).logits, want)


def test_different_weights_are_not_loaded_into_tied_ones(
    make_model: MakeModel, tmp_path: Path
) -> None:
    with_head(make_model(), MeanHead()).save(tmp_path / "w")

    with pytest.raises(ValueError, match=r"equal head.first.weight and head.second.weight"):
        TinyModel.load(with_head(make_model(), MeanHead(tied=True)), tmp_path / "w")


def test_a_view_of_another_weight_is_saved(make_model: MakeModel, tmp_path: Path) -> None:
    model = with_head(make_model(), MeanHead())
    head: Any = model.head
    head.register_buffer("row", head.first.weight.detach()[1])

    check_savable(model)
    model.save(tmp_path / "w")

    assert TinyModel.load(model, tmp_path / "w") is model


class CountingLinear(nn.Linear):
    """A layer whose state is more than tensors."""

    def get_extra_state(self) -> dict[str, int]:
        return {"seen": 3}


class WingedModel(TinyModel):
    """A model that forgets an argument."""

    def __init__(self, device: torch.device, num_wings: int = 2) -> None:
        super().__init__(device, 1, 1, 1)


def unsavable(kind: str, model: TinyModel) -> TinyModel:
    head: Any = MeanHead()
    if kind == "sparse":
        head.register_buffer("graph", torch.eye(3).to_sparse())
    elif kind == "lazy":
        head.lazy = nn.LazyLinear(2)
    elif kind == "infinite":
        head.register_buffer("mask", torch.tensor([0.0, -torch.inf]))
    elif kind == "extra state":
        head.first = CountingLinear(3, 3)
    elif kind == "argument":
        model.rule_args = {"nonlinearity": nn.ReLU, "when": object()}
    elif kind == "forgotten":
        return WingedModel(torch.device("cpu"))
    return with_head(model, head)


@pytest.mark.parametrize(
    ("kind", "error", "message"),
    [
        ("sparse", ValueError, "head.graph must be a dense"),
        ("lazy", ValueError, "head.lazy.weight must be a dense, initialised"),
        ("infinite", ValueError, "finite weights, but head.mask has NaN or infinite"),
        (
            "extra state",
            ValueError,
            "head.first._extra_state must be a tensor to be saved, got dict",
        ),
        ("argument", TypeError, "rule_args must be data that JSON can hold"),
        ("forgotten", TypeError, "num_wings must be an attribute of WingedModel.*_to_dict"),
    ],
)
def test_what_cannot_be_saved_is_named_before_it_is_trained(
    make_model: MakeModel, kind: str, error: type[Exception], message: str
) -> None:
    model = unsavable(kind, make_model())

    with pytest.raises(error, match=message):
        check_savable(model)


class NoiseView(View):
    """A view whose filters nothing saves."""

    def __init__(self, channels: int, spatial_dims: int, plain: bool = False) -> None:
        super().__init__(channels, spatial_dims)
        noise = torch.randn(2, *[3] * spatial_dims)
        if plain:
            self.filters = noise[:, None].repeat(1, channels, 1, 1)
        else:
            self.set_filters(noise)


class SeededView(View):
    """A view whose filters are drawn, and are always the same."""

    def __init__(self, channels: int, spatial_dims: int, seed: int = 0) -> None:
        super().__init__(channels, spatial_dims)
        noise = torch.randn(2, 3, 3, generator=torch.Generator().manual_seed(seed))
        self.set_filters(noise)


class KeptView(View):
    """A view whose filters are drawn and saved."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__(channels, spatial_dims)
        self.register_buffer("filters", torch.randn(2, channels, 3, 3))


class NoiseRule(MLPNCARule):
    """A rule with a tensor that nothing saves."""

    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        self.mix = torch.randn(3)


def seeing(*views: Any) -> dict[str, Any]:
    return {"perception_type": ViewsNCAPerception, "perception_args": {"views": [*views]}}


def overwrite_filters(model: TinyModel) -> None:
    model.perception.filters.mul_(2)


FORGETFUL: dict[str, Any] = {
    "filters of NoiseView": (seeing(SobelView, NoiseView), None),
    "filters of NoiseView, plain": (seeing((NoiseView, {"plain": True})), None),
    "mix of NoiseRule": ({"rule_type": NoiseRule}, None),
    "filters of BasicNCAPerception": ({}, overwrite_filters),
}


@pytest.mark.parametrize("kind", FORGETFUL)
def test_tensors_that_a_loaded_model_would_not_have_are_named(
    make_model: MakeModel, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    arguments, change = FORGETFUL[kind]
    model = make_model(**arguments)
    if change is not None:
        change(model)
    message = f"{kind.partition(',')[0]} must be saved, or be the same whenever it is made"

    with pytest.raises(ValueError, match=message):
        check_savable(model)

    model.save(tmp_path / "w")
    assert message in caplog.text


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize(
    "arguments",
    [seeing((SeededView, {"seed": 3}), KeptView, LearnedView), {"use_laplace": True}],
    ids=["views", "basic"],
)
def test_tensors_that_are_made_anew_need_not_be_saved(
    make_model: MakeModel,
    image: Tensor,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    arguments: dict[str, Any],
    dtype: torch.dtype,
) -> None:
    model = make_model(**arguments).to(dtype).float()

    check_savable(model)
    model.save(tmp_path / "w")

    assert not caplog.text
    twin = TinyModel.from_pretrained(tmp_path / "w").to(dtype).float()
    want = model.predict(image, 3, seed=2).output_image
    assert torch.equal(twin.predict(image, 3, seed=2).output_image, want)


def test_to_check_a_model_changes_nothing(make_model: MakeModel) -> None:
    model = make_model()
    spectral_norm(first_layer(model))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()

    check_savable(model)

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training


def test_a_flipped_bit_is_found(make_model: MakeModel, tmp_path: Path) -> None:
    path = tmp_path / "w"
    model = make_model()
    model.save(path)
    content = bytearray(path.read_bytes())
    content[-5] ^= 1

    path.write_bytes(content)

    with pytest.raises(ValueError, match="w is damaged: .* checksum"):
        AbstractNCAModel.load(model, path)
