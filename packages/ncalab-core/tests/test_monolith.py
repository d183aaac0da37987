"""Weights of the monolithic ncalab: the same steps as its equations, or an error that says why."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from core_models import TinyModel
from safetensors.torch import save_file
from torch import Tensor, nn

from ncalab.core.monolith import load_monolith_weights, read_monolith, redraw_filters

SOBEL = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).double() / 8
LAPLACE = torch.tensor([[1.0, 2, 1], [2, -12, 2], [1, 2, 1]]).double()
State = dict[str, Tensor]


def monolith_rollout(
    x: Tensor,
    state: State,
    filters: Sequence[Tensor],
    *,
    steps: int,
    image_channels: int,
    total: int | None = None,
    padding: str = "constant",
    alive: bool = False,
    activation: Callable[[Tensor], Tensor] = F.relu,
) -> Tensor:
    """Take steps by the equations of the monolith, in which all cells fire."""
    channels = x.shape[1]
    for step in range(steps):
        padded = F.pad(x, [1, 1, 1, 1], mode=padding)
        seen = [x]
        for kernel in filters:
            depthwise = kernel.expand(channels, 3, 3)[:, None]
            seen.append(F.conv2d(padded, depthwise, groups=channels))
        if total is not None:
            seen.append(torch.full_like(x[:, :1], step / total))
        first, bias = state["rule.network.0.weight"], state["rule.network.0.bias"]
        hidden = activation(F.conv2d(torch.cat(seen, 1), first, bias))
        update = F.conv2d(hidden, state["rule.network.2.weight"])
        update[:, :image_channels] = 0
        x = x + update
        if alive:
            x = x * (F.max_pool2d(x[:, 3:4], 3, 1, 1) > 0.1)
    return x


def make_model(**settings: Any) -> TinyModel:
    defaults = {
        "num_image_channels": 2,
        "num_hidden_channels": 3,
        "num_output_channels": 1,
        "hidden_size": 7,
        "fire_rate": 1.0,
        "filter_padding": "zero",
    }
    return TinyModel(torch.device("cpu"), **{**defaults, **settings}).double()


def old_state(model: TinyModel, *, seed: int = 0) -> State:
    """Weights under the names of the monolith; small, so that states stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "rule.network.0.weight": (model.hidden_size, model.input_vector_size, 1, 1),
        "rule.network.0.bias": (model.hidden_size,),
        "rule.network.2.weight": (model.num_channels, model.hidden_size, 1, 1),
    }
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64) / 8
        for name, shape in shapes.items()
    }


def images(model: TinyModel) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(2, model.num_channels, 6, 5, generator=generator, dtype=torch.float64)


def saved(state: State, folder: Path, name: str = "old.pth") -> Path:
    torch.save(state, folder / name)
    return folder / name


def fixed_count(model: TinyModel) -> int:
    return model.num_image_channels if model.immutable_image_channels else 0


def assert_same_steps(model: TinyModel, want: Tensor, x: Tensor, steps: int = 5) -> None:
    got = model.predict(x, steps, seed=0).output_image
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
    assert (want - x).abs().max() > 0.01


@pytest.mark.parametrize("use_laplace", [False, True])
@pytest.mark.parametrize("immutable", [False, True])
def test_fixed_filters_take_the_steps_of_the_monolith(
    tmp_path: Path, use_laplace: bool, immutable: bool
) -> None:
    model = make_model(use_laplace=use_laplace, immutable_image_channels=immutable)
    state, x = old_state(model), images(model)

    report = load_monolith_weights(model, saved(state, tmp_path))

    filters = [SOBEL, SOBEL.T, LAPLACE][: 3 if use_laplace else 2]
    want = monolith_rollout(x, state, filters, steps=5, image_channels=fixed_count(model))
    assert_same_steps(model, want, x)
    assert report.exact
    assert bool(report.converted) == use_laplace


def test_the_temporal_encoding_takes_the_steps_of_the_monolith(tmp_path: Path) -> None:
    model = make_model(use_temporal_encoding=True, training_timesteps=(5, 9))
    state, x = old_state(model), images(model)

    report = load_monolith_weights(model, saved(state, tmp_path))

    want = monolith_rollout(
        x, state, [SOBEL, SOBEL.T], steps=5, image_channels=fixed_count(model), total=9
    )
    assert_same_steps(model, want, x)
    assert "training_timesteps=(5, 9)" in str(report)


@pytest.mark.parametrize("prefix", ["perception.filters", "filters"])
@pytest.mark.parametrize("padding", ["reflect", "circular", "replicate"])
def test_saved_learned_filters_take_the_steps_of_the_monolith(
    tmp_path: Path, prefix: str, padding: str
) -> None:
    model = make_model(num_learned_filters=2, filter_padding=padding)
    state, x = old_state(model), images(model)
    kernels = [torch.randn(model.num_channels, 3, 3).double() for _ in range(2)]
    learned = {f"{prefix}.{i}.weight": kernel[:, None] for i, kernel in enumerate(kernels)}

    report = load_monolith_weights(model, saved({**state, **learned}, tmp_path))

    want = monolith_rollout(
        x, state, kernels, steps=5, image_channels=fixed_count(model), padding=padding
    )
    assert_same_steps(model, want, x)
    assert report.exact and not report.given


def test_redrawn_filters_are_those_that_the_constructor_of_the_monolith_drew(
    tmp_path: Path,
) -> None:
    model = make_model(num_learned_filters=2)
    state, x = old_state(model), images(model)
    torch.manual_seed(1337)
    channels = model.num_channels
    drawn = [
        nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels, bias=False)
        for _ in range(2)
    ]
    filters = redraw_filters(model, 1337)

    report = load_monolith_weights(model, saved(state, tmp_path), filters=filters)

    kernels = [layer.weight.detach()[:, 0].double() for layer in drawn]
    want = monolith_rollout(x, state, kernels, steps=5, image_channels=fixed_count(model))
    assert_same_steps(model, want, x)
    assert report.exact
    assert "those given as filters=" in str(report)


def test_redrawing_leaves_the_generator_alone() -> None:
    torch.manual_seed(3)
    model = make_model(num_learned_filters=1)
    before = torch.get_rng_state()

    redraw_filters(model, 1337)

    assert torch.equal(torch.get_rng_state(), before)


def test_missing_learned_filters_are_an_error_and_nothing_is_loaded(tmp_path: Path) -> None:
    model = make_model(num_learned_filters=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}

    with pytest.raises(ValueError, match=r"learned_filters.*neither trained nor saved"):
        load_monolith_weights(model, saved(old_state(model), tmp_path))

    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_accepted_missing_filters_stay_the_models_and_the_report_says_so(tmp_path: Path) -> None:
    model = make_model(num_learned_filters=2)
    perception: Any = model.perception
    own = perception.filters.detach().clone()

    report = load_monolith_weights(
        model, saved(old_state(model), tmp_path), accept=["learned_filters"]
    )

    assert torch.equal(perception.filters, own)
    assert not report.exact
    assert "perception.filters: those that the model had" in str(report)


def test_the_border_of_fixed_filters_must_be_zero(tmp_path: Path) -> None:
    model = make_model(filter_padding="reflect")

    with pytest.raises(ValueError, match="filter_padding='zero', not 'reflect'"):
        load_monolith_weights(model, saved(old_state(model), tmp_path))


def test_the_alive_mask_is_the_same_while_no_cell_comes_to_life(tmp_path: Path) -> None:
    model = make_model(num_image_channels=4, use_alive_mask=True, immutable_image_channels=False)
    state = old_state(model)
    state["rule.network.2.weight"][3] = -state["rule.network.2.weight"][3].abs()  # fades
    x = images(model)
    x[:, 3] = 0.2
    x[:, 3, 4:] = 0
    file = saved(state, tmp_path)
    with pytest.raises(ValueError, match="alive_mask: cells had to be alive after"):
        load_monolith_weights(model, file)

    report = load_monolith_weights(model, file, accept=["alive_mask"])

    want = monolith_rollout(x, state, [SOBEL, SOBEL.T], steps=5, image_channels=0, alive=True)
    assert_same_steps(model, want, x)
    assert [each.kind for each in report.accepted] == ["alive_mask"]


def test_linear_layers_with_another_activation_take_the_steps_of_their_time(
    tmp_path: Path,
) -> None:
    model = make_model(rule_args={"nonlinearity": nn.LeakyReLU})
    state, x = old_state(model), images(model)
    linear = {name.replace("rule.", ""): value.squeeze() for name, value in state.items()}

    report = load_monolith_weights(model, saved(linear, tmp_path))

    want = monolith_rollout(
        x,
        state,
        [SOBEL, SOBEL.T],
        steps=5,
        image_channels=fixed_count(model),
        activation=F.leaky_relu,
    )
    assert_same_steps(model, want, x)
    assert "1 - fire_rate" in str(report)


def test_an_activation_that_the_monolith_ignored_is_an_error(tmp_path: Path) -> None:
    model = make_model(rule_args={"nonlinearity": nn.Tanh})

    with pytest.raises(ValueError, match="activation: rule_args were ignored"):
        load_monolith_weights(model, saved(old_state(model), tmp_path))


def test_the_laplace_filter_of_the_first_versions_is_an_error(tmp_path: Path) -> None:
    model = make_model(use_laplace=True)
    state = {name.replace("rule.", ""): value for name, value in old_state(model).items()}

    with pytest.raises(ValueError, match="laplace: .* four neighbours"):
        load_monolith_weights(model, saved(state, tmp_path))


def test_noise_in_other_channels_is_an_error(tmp_path: Path) -> None:
    model = make_model(pad_noise=True)

    with pytest.raises(ValueError, match="pad_noise=False"):
        load_monolith_weights(model, saved(old_state(model), tmp_path))


def test_weights_that_were_never_trained_are_an_error(tmp_path: Path) -> None:
    model = make_model()
    state = old_state(model)
    state["rule.network.2.weight"].zero_()

    with pytest.raises(ValueError, match="untrained: the last layer of the rule is all zero"):
        load_monolith_weights(model, saved(state, tmp_path))


def test_unknown_tensors_are_an_error_until_they_are_accepted(tmp_path: Path) -> None:
    model = make_model()
    file = saved({**old_state(model), "wings.weight": torch.ones(2)}, tmp_path)
    with pytest.raises(ValueError, match=r"unknown_tensors: .*wings\.weight"):
        load_monolith_weights(model, file)

    report = load_monolith_weights(model, file, accept=["unknown_tensors"])

    assert "wings.weight: not known" in str(report)


def test_settings_of_losses_are_named_and_not_needed(tmp_path: Path) -> None:
    model = make_model()
    file = saved({**old_state(model), "focal_loss.weight": torch.ones(3)}, tmp_path)

    report = load_monolith_weights(model, file)

    assert report.ignored == ("focal_loss.weight: a setting of a loss or metric",)


def test_safetensors_and_state_dicts_give_the_same_weights(tmp_path: Path) -> None:
    one, other = make_model(), make_model()
    state = old_state(one)
    save_file(state, tmp_path / "old.safetensors")

    load_monolith_weights(one, tmp_path / "old.safetensors")
    load_monolith_weights(other, saved(state, tmp_path))

    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name])


def test_weights_of_another_size_are_an_error_that_names_the_tensor(tmp_path: Path) -> None:
    file = saved(old_state(make_model(hidden_size=9)), tmp_path)

    with pytest.raises(ValueError, match=r"rule\.network\.0\.weight must have shape \(7, "):
        load_monolith_weights(make_model(), file)


def test_filters_that_nothing_needs_are_an_error(tmp_path: Path) -> None:
    file = saved(old_state(make_model()), tmp_path)

    with pytest.raises(ValueError, match="filters must have shape"):
        load_monolith_weights(make_model(), file, filters=torch.zeros(2, 6, 3, 3))


def test_filters_for_a_file_that_has_its_own_are_an_error(tmp_path: Path) -> None:
    model = make_model(num_learned_filters=1)
    learned = {"filters.0.weight": torch.ones(model.num_channels, 1, 3, 3)}
    file = saved({**old_state(model), **learned}, tmp_path)

    with pytest.raises(ValueError, match="filters must be None for a file that has its own"):
        load_monolith_weights(model, file, filters=redraw_filters(model, 0))


def test_a_word_in_place_of_a_list_is_an_error(tmp_path: Path) -> None:
    file = saved(old_state(make_model()), tmp_path)

    with pytest.raises(TypeError, match="accept must be a list of names"):
        load_monolith_weights(make_model(), file, accept="border")  # type: ignore[arg-type]  # of a wrong type


def test_scales_without_a_wrapped_model_are_no_weights(tmp_path: Path) -> None:
    state = {f"models.0.{name}": value for name, value in old_state(make_model()).items()}

    with pytest.raises(ValueError, match="must hold weights of an NCA"):
        read_monolith(saved(state, tmp_path))


def test_a_difference_that_does_not_exist_cannot_be_accepted(tmp_path: Path) -> None:
    file = saved(old_state(make_model()), tmp_path)

    with pytest.raises(ValueError, match="accept must name differences"):
        load_monolith_weights(make_model(), file, accept=["anything"])  # type: ignore[list-item]  # of a wrong type


def test_what_a_file_says_about_its_model(tmp_path: Path) -> None:
    model = make_model(use_temporal_encoding=True)

    text = str(read_monolith(saved(old_state(model), tmp_path)))

    assert f"channels: {model.num_channels} " in text
    assert "hidden_size=7" in text
    assert "use_temporal_encoding=True" in text
    assert "either the Sobel filters, or num_learned_filters=2, which were not saved" in text


class Harmful:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("harm"),)


def test_no_code_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"rule.network.0.weight": Harmful()}, "bad.pth")

    with pytest.raises(ValueError, match="nothing else is unpickled"):
        read_monolith("bad.pth")

    assert not Path("harm").exists()


@pytest.mark.parametrize("content", [b"", b"text", b"PK\x03\x04broken", b"\x80\x02broken"])
def test_a_file_of_another_kind_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.pth").write_bytes(content)

    with pytest.raises(ValueError, match=r"file\.pth must be a safetensors file or a state dict"):
        read_monolith(tmp_path / "file.pth")


def test_a_state_dict_of_something_else_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold weights of an NCA, got"):
        read_monolith(saved({"conv.weight": torch.ones(1)}, tmp_path))


def test_weights_that_are_not_finite_are_an_error(tmp_path: Path) -> None:
    state = old_state(make_model())
    state["rule.network.0.bias"][2] = torch.nan

    with pytest.raises(ValueError, match=r"rule\.network\.0\.bias has NaN"):
        read_monolith(saved(state, tmp_path))


def test_a_file_of_this_library_is_an_error(tmp_path: Path) -> None:
    make_model().save(tmp_path / "new.safetensors")

    with pytest.raises(ValueError, match="got one of this library; read it with from_pretrained"):
        read_monolith(tmp_path / "new.safetensors")


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="path must be a weights file"):
        read_monolith(tmp_path / "none.pth")


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_load_names_what_reads_an_old_file(tmp_path: Path, kind: str) -> None:
    model = make_model(num_learned_filters=2)
    path = tmp_path / f"old.{kind}"
    {"safetensors": save_file, "pth": torch.save}[kind](old_state(model), path)  # type: ignore[operator]  # two functions in one table

    with pytest.raises(ValueError, match=r"old\..*load_monolith_weights\(model, path\)"):
        TinyModel.load(model, path)
    with pytest.raises(ValueError, match=r"old\..*load_monolith_weights\(model, path\)"):
        TinyModel.from_pretrained(path)


def test_load_warns_of_a_file_that_fits_and_may_be_old(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model()
    save_file(old_state(model), tmp_path / "old")

    TinyModel.load(model, tmp_path / "old")

    assert "load_monolith_weights" in caplog.text
