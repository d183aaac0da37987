from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from core_models import MakeModel, TinyModel
from safetensors.torch import save_file, save_model
from torch import Tensor, nn

from ncalab.core import MLPNCARule
from ncalab.core.monolith import MonolithReport, load_monolith_weights

CHANNELS, HIDDEN = 9, 16  # of make_model: 4 image, 3 hidden and 2 output channels
RULE = ["rule.network.0.bias", "rule.network.0.weight", "rule.network.2.weight"]


def old_rule(inputs: int, *, seed: int = 5) -> dict[str, Tensor]:
    """Weights of a rule as the monolith names them."""
    generator = torch.Generator().manual_seed(seed)
    return {
        "rule.network.0.weight": torch.randn(HIDDEN, inputs, 1, 1, generator=generator) / 5,
        "rule.network.0.bias": torch.randn(HIDDEN, generator=generator) / 5,
        "rule.network.2.weight": torch.randn(CHANNELS, HIDDEN, 1, 1, generator=generator) / 5,
    }


def old_step(
    state: Tensor, weights: dict[str, Tensor], *, laplace: bool, time: float | None = None
) -> Tensor:
    """One step of the monolith at fire rate 1, as its equations say, with fixed filters."""
    sobel = state.new_tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    whole = state.new_tensor([[1, 2, 1], [2, -12, 2], [1, 2, 1]])
    channels = state.shape[1]
    seen = [state]
    for kernel in [sobel, sobel.T, whole] if laplace else [sobel, sobel.T]:
        bank = kernel.expand(channels, 1, 3, 3)
        seen.append(F.conv2d(state, bank, padding=1, groups=channels))
    if time is not None:
        seen.append(torch.full_like(state[:, :1], time))
    neurons = F.conv2d(
        torch.cat(seen, 1), weights["rule.network.0.weight"], weights["rule.network.0.bias"]
    )
    update = F.conv2d(neurons.relu(), weights["rule.network.2.weight"])
    return torch.cat([state[:, :4], state[:, 4:] + update[:, 4:]], 1)


def old_rollout(
    image: Tensor, weights: dict[str, Tensor], steps: int, *, laplace: bool, period: int | None
) -> Tensor:
    state = torch.cat([image, image.new_zeros(len(image), CHANNELS - 4, *image.shape[2:])], 1)
    for step in range(steps):
        time = None if period is None else step / period
        state = old_step(state, weights, laplace=laplace, time=time)
    return state


def save_safetensors(tensors: dict[str, Tensor], path: Path) -> None:
    save_file(tensors, path)


def save_torch(tensors: dict[str, Tensor], path: Path) -> None:
    torch.save(tensors, path)


def unchanged(model: nn.Module, before: dict[str, Tensor]) -> bool:
    return all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def copy_of(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize("save", [save_safetensors, save_torch])
@pytest.mark.parametrize("laplace", [False, True])
@pytest.mark.parametrize("temporal", [False, True])
def test_a_model_with_old_weights_computes_what_the_monolith_did(
    make_model: MakeModel,
    image: Tensor,
    tmp_path: Path,
    save: Callable[[dict[str, Tensor], Path], None],
    laplace: bool,
    temporal: bool,
) -> None:
    weights = old_rule(CHANNELS * (3 + laplace) + temporal)
    save(weights, tmp_path / "old.pth")
    model = make_model(
        fire_rate=1.0,
        filter_padding="zero",
        use_laplace=laplace,
        use_temporal_encoding=temporal,
        training_timesteps=(6, 8),
    ).double()  # the undivided Laplace filter amplifies what float32 rounds off

    report = load_monolith_weights(model, tmp_path / "old.pth")

    period = 8 if temporal else None
    exact = {name: value.double() for name, value in weights.items()}
    want = old_rollout(image.double(), exact, 5, laplace=laplace, period=period)
    assert want[:, 4:].abs().mean() > 0.1
    got = model.predict(image, 5).output_image
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-10)
    assert list(report.read) == RULE
    assert len(report.converted) == int(laplace)


def test_a_report_says_that_borders_differ_without_zero_padding(
    make_model: MakeModel, tmp_path: Path
) -> None:
    save_file(old_rule(CHANNELS * 3), tmp_path / "old.safetensors")

    report = load_monolith_weights(make_model(), tmp_path / "old.safetensors")

    assert "borders" in str(report)
    assert "'reflect'" in str(report)


def test_a_report_is_text_without_empty_sections() -> None:
    report = MonolithReport("old.pth", "GrowingNCAModel", read=("a", "b"))

    assert str(report) == "old.pth -> GrowingNCAModel\nRead:\n  - a\n  - b"


def test_a_file_without_learned_filters_is_refused(make_model: MakeModel, tmp_path: Path) -> None:
    save_file(old_rule(CHANNELS * 3), tmp_path / "old.safetensors")
    model = make_model(num_learned_filters=2)
    before = copy_of(model)

    with pytest.raises(ValueError, match=r'has no learned filters.*filters="keep"'):
        load_monolith_weights(model, tmp_path / "old.safetensors")

    assert unchanged(model, before)


def test_filters_may_be_given_or_kept(make_model: MakeModel, tmp_path: Path) -> None:
    weights = old_rule(CHANNELS * 3)
    save_file(weights, tmp_path / "old.safetensors")
    model = make_model(num_learned_filters=2)
    own, given = model.perception.filters.detach().clone(), torch.rand(2, CHANNELS, 3, 3)

    report = load_monolith_weights(model, tmp_path / "old.safetensors", filters="keep")
    assert torch.equal(model.perception.filters, own)
    assert "the model's own, untrained" in str(report)

    report = load_monolith_weights(model, tmp_path / "old.safetensors", filters=given)
    assert torch.equal(model.perception.filters, given)
    assert torch.equal(model.state_dict()[RULE[1]], weights[RULE[1]])
    assert "taken instead: yours" in str(report)


def test_filters_that_a_file_has_are_read(make_model: MakeModel, tmp_path: Path) -> None:
    bank = torch.rand(2, CHANNELS, 1, 3, 3)
    old = {name.removeprefix("rule."): value for name, value in old_rule(CHANNELS * 3).items()}
    filters = {f"filters.{k}.weight": bank[k] for k in range(2)}
    save_file(old | filters, tmp_path / "old.safetensors")
    model = make_model(num_learned_filters=2)

    report = load_monolith_weights(model, tmp_path / "old.safetensors")

    assert torch.equal(model.perception.filters, bank[:, :, 0])
    assert "old file" in str(report)


def test_a_file_with_filters_needs_a_model_with_filters(
    make_model: MakeModel, tmp_path: Path
) -> None:
    filters = {f"filters.{k}.weight": torch.rand(CHANNELS, 1, 5, 5) for k in range(2)}
    save_file(old_rule(CHANNELS * 3) | filters, tmp_path / "old.safetensors")
    learned = make_model(num_learned_filters=2, kernel_size=5)

    with pytest.raises(ValueError, match="num_learned_filters=2 and kernel_size=5"):
        load_monolith_weights(make_model(), tmp_path / "old.safetensors")
    with pytest.raises(ValueError, match="filters must be None"):
        load_monolith_weights(learned, tmp_path / "old.safetensors", filters="keep")


def test_linear_layers_become_convolutions(make_model: MakeModel, tmp_path: Path) -> None:
    weights = old_rule(CHANNELS * 3)
    old = {name.removeprefix("rule."): value.squeeze() for name, value in weights.items()}
    torch.save(old, tmp_path / "old.pth")
    model = make_model()

    report = load_monolith_weights(model, tmp_path / "old.pth")

    state = model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in weights.items())
    assert any("linear layers" in line for line in report.converted)


class Head(nn.Module):
    """A head whose last layer has a bias, as ours has."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(3, 4))


def test_a_head_without_a_bias_gets_one_of_zero(make_model: MakeModel, tmp_path: Path) -> None:
    head = {"head.classifier.1.weight": torch.rand(4, 3)}
    save_file(old_rule(CHANNELS * 3) | head, tmp_path / "old.safetensors")
    model = make_model()
    model.head = Head()  # type: ignore[assignment]

    report = load_monolith_weights(model, tmp_path / "old.safetensors")

    assert torch.equal(model.state_dict()["head.classifier.1.bias"], torch.zeros(4))
    assert any(line.startswith("head.classifier.1.bias") for line in report.converted)


class OldCascade(nn.Module):
    """The modules of a monolithic cascade, whose models are all the same one."""

    def __init__(self, wrapped: nn.Module, scales: int) -> None:
        super().__init__()
        self.rule = MLPNCARule(torch.device("cpu"), CHANNELS * 3, HIDDEN, CHANNELS)
        self.wrapped = wrapped
        self.models = nn.ModuleList([wrapped] * scales)


def test_a_cascade_file_gives_its_wrapped_weights(make_model: MakeModel, tmp_path: Path) -> None:
    old, model = make_model(), make_model(awake=False)
    save_model(OldCascade(old, 3), str(tmp_path / "old.safetensors"))

    report = load_monolith_weights(model, tmp_path / "old.safetensors")

    assert unchanged(model, copy_of(old))
    assert "rule.network.0.weight" in report.unused
    assert "models.0.rule.network.0.weight" in report.read
    assert "scales and steps" in str(report)


def test_scales_with_other_weights_do_not_fit_one_model(
    make_model: MakeModel, tmp_path: Path
) -> None:
    rules = [old_rule(CHANNELS * 3, seed=seed) for seed in (1, 2)]
    old = {f"models.{k}.{name}": value for k in (0, 1) for name, value in rules[k].items()}
    save_file(old, tmp_path / "old.safetensors")
    model = make_model()
    before = copy_of(model)

    with pytest.raises(ValueError, match="each of 2 scales"):
        load_monolith_weights(model, tmp_path / "old.safetensors")

    assert unchanged(model, before)


class Whole:
    """Something that only pickle could rebuild."""


def wrong_files(folder: Path) -> dict[str, tuple[Any, str]]:
    """Return contents of files that must be refused, and the reason to expect."""
    good = old_rule(CHANNELS * 3)
    nan = good | {"rule.network.0.bias": torch.full((HIDDEN,), torch.nan)}
    sizes = r"36 inputs a cell \(its state, 3 filters of it\), the model's has .* 27 inputs"
    return {
        "sizes": (old_rule(CHANNELS * 4), sizes),
        "nan": (nan, "finite"),
        "filters": (good | {"filters.0.weight": torch.zeros(9)}, r"\(C, 1, k, k\)"),
        "extra": (good | {"vignette": torch.zeros(1)}, "extra .*vignette"),
        "missing": ({"rule.network.0.bias": good["rule.network.0.bias"]}, "must hold rule"),
        "model": (Whole(), "state_dict"),
        "number": (good | {"epoch": 3}, "'epoch': int"),
        "list": ([torch.zeros(1)], "got list"),
        "empty": ({}, "got none"),
    }


@pytest.mark.parametrize("name", list(wrong_files(Path())))
def test_a_wrong_file_changes_nothing(make_model: MakeModel, tmp_path: Path, name: str) -> None:
    content, reason = wrong_files(tmp_path)[name]
    torch.save(content, tmp_path / "old.pth")
    model = make_model()
    before = copy_of(model)

    with pytest.raises(ValueError, match=reason):
        load_monolith_weights(model, tmp_path / "old.pth")

    assert unchanged(model, before)


@pytest.mark.parametrize("save", [save_safetensors, save_torch])
def test_a_cut_file_is_refused(
    make_model: MakeModel, tmp_path: Path, save: Callable[[dict[str, Tensor], Path], None]
) -> None:
    path = tmp_path / "old.pth"
    save(old_rule(CHANNELS * 3), path)
    whole = path.read_bytes()

    for size in (0, 5, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"old\.pth"):
            load_monolith_weights(make_model(), path)


def test_a_file_of_this_library_is_sent_elsewhere(make_model: MakeModel, tmp_path: Path) -> None:
    make_model().save(tmp_path / "new.safetensors")

    with pytest.raises(ValueError, match="from_pretrained"):
        load_monolith_weights(make_model(), tmp_path / "new.safetensors")


def test_wrong_arguments_are_named(make_model: MakeModel, tmp_path: Path) -> None:
    path = tmp_path / "old.safetensors"
    save_file(old_rule(CHANNELS * 3), path)
    learned: TinyModel = make_model(num_learned_filters=2)

    with pytest.raises(TypeError, match="model must be"):
        load_monolith_weights(nn.Linear(1, 1), path)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="filters must be"):
        load_monolith_weights(learned, path, filters="fresh")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"shape \(2, 9, 3, 3\), got \(2, 9, 5, 5\)"):
        load_monolith_weights(learned, path, filters=torch.zeros(2, 9, 5, 5))
    with pytest.raises(ValueError, match="fixed filters"):
        load_monolith_weights(make_model(), path, filters="keep")
    with pytest.raises(FileNotFoundError, match="path must be"):
        load_monolith_weights(make_model(), tmp_path / "none.pth")
