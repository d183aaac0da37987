"""The compiled CPU engine: its own cases, beyond what all engines have in common."""

from typing import Any

import pytest
import torch
from core_models import TinyModel, awaken
from rollout_checks import assert_threads_agree, threads
from torch import Tensor, nn

from ncalab.core import alive
from ncalab.core.rollout import rollout
from ncalab.core.rollout.cpu import compiled
from ncalab.core.rollout.cpu.compiled import group
from ncalab.core.rollout.cpu.compiled import library as libraries
from ncalab.core.rollout.cpu.compiled.spec import ACTIVATIONS

CPU = torch.device("cpu")

# Where the processor is known, the engine must be there: `nox` builds it or fails.
pytestmark = pytest.mark.skipif(
    not libraries.levels(), reason="the compiled engine does not know this processor"
)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_engine_is_installed(dtype: torch.dtype) -> None:
    assert isinstance(libraries.library(dtype), libraries.Library)


def make(*, grid_channels: int = 5, **arguments: Any) -> TinyModel:
    torch.manual_seed(1)
    model = TinyModel(CPU, 4, grid_channels, 2, hidden_size=24, **arguments)
    awaken(model)
    return model


def states_and_slopes(model: TinyModel, x: Tensor, steps: int, **options: Any) -> list[Tensor]:
    x = x.clone().requires_grad_()
    after = rollout(model, x, steps, seed=4, **options)
    weights = torch.linspace(-1, 1, after.numel(), dtype=after.dtype).view_as(after)
    loss = (after * weights).sum() + after.square().sum()
    wanted = [x, *(p for p in model.parameters() if p.requires_grad)]
    return [after.detach(), *torch.autograd.grad(loss, wanted)]


@pytest.mark.parametrize("nonlinearity", ACTIVATIONS)
def test_every_activation_equals_the_reference(nonlinearity: type[nn.Module]) -> None:
    model = make(rule_args={"nonlinearity": nonlinearity}).double()
    x = 3 * torch.randn(2, model.num_channels, 9, 14, dtype=torch.float64)

    assert compiled.why_not_compiled(model, x) is None
    fast = states_and_slopes(model, x, 5, engine="fused")

    for got, want in zip(fast, states_and_slopes(model, x, 5, engine="reference"), strict=True):
        torch.testing.assert_close(got, want, atol=1e-12, rtol=1e-10)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_threshold_of_visible_cells_is_stated_once(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(use_alive_mask=True).to(dtype)
    x = torch.rand(2, model.num_channels, 9, 14, dtype=dtype)
    usual = rollout(model, x, 2, seed=1, engine="fused")

    # Each module that states a threshold has taken it from ncalab.core.alive.
    for module in (alive, group):
        monkeypatch.setattr(module, "ALIVE_THRESHOLD", 0.95)
    fast, plain = (rollout(model, x, 2, seed=1, engine=e) for e in ("fused", "reference"))

    torch.testing.assert_close(fast, plain, atol=1e-5, rtol=1e-5)
    # Image channels are exempt from the mask.
    assert (fast[:, 4:] == 0).all(dim=1).sum() > (usual[:, 4:] == 0).all(dim=1).sum()


@pytest.mark.parametrize("nonlinearity", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.SiLU])
# Infinity is not among them: filters leave out taps of factor 0, where the reference multiplies.
@pytest.mark.parametrize("value", [1e4, -1e4, float("nan")])
def test_activations_of_extreme_values_are_those_of_the_reference(
    nonlinearity: type[nn.Module], value: float
) -> None:
    model = make(rule_args={"nonlinearity": nonlinearity}, fire_rate=1.0)
    x = torch.zeros(1, model.num_channels, 5, 6)
    x[0, 4, 2, 3] = value

    fast, plain = (rollout(model, x, 1, seed=1, engine=e) for e in ("fused", "reference"))

    torch.testing.assert_close(fast, plain, atol=1e-2, rtol=1e-4, equal_nan=True)


@pytest.mark.parametrize("channels", [1, 2, 9, 10, 11, 26, 27, 42])
def test_any_number_of_channels_equals_the_reference(channels: int) -> None:
    # With the image and the outputs: fewer than a vector, a vector, more, and more than two.
    model = make(grid_channels=channels)
    x = torch.rand(3, model.num_channels, 7, 8)

    fast = states_and_slopes(model, x, 4, engine="fused")

    for got, want in zip(fast, states_and_slopes(model, x, 4, engine="reference"), strict=True):
        assert (got - want).norm() <= 1e-5 * want.norm()


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
@pytest.mark.parametrize("padding", ["zero", "reflect", "replicate", "circular"])
def test_two_threads_give_what_one_gives(batch: int, padding: Any) -> None:
    model = make(filter_padding=padding, use_temporal_encoding=True, num_learned_filters=1)
    x = torch.rand(batch, model.num_channels, 80, 70)

    with threads(1):
        alone = states_and_slopes(model, x, 6)
    with threads(2):
        shared = [states_and_slopes(model, x, 6) for _ in range(2)]

    assert_threads_agree(alone, shared)


def test_a_large_sample_is_cut_into_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    call = libraries.Library.call

    def note(self: libraries.Library, name: str, *arguments: Any) -> int:
        called.append(name)
        return call(self, name, *arguments)

    monkeypatch.setattr(libraries.Library, "call", note)
    model = make()
    with threads(2):
        states_and_slopes(model, torch.rand(1, model.num_channels, 80, 70), 12)

    assert {"forward_in_bands", "backward_in_bands"} <= set(called)


@pytest.mark.parametrize("masked", [False, True])
def test_a_tape_that_is_full_is_followed_by_another(
    masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = make(use_alive_mask=masked)
    x = torch.rand(2, model.num_channels, 12, 9)
    whole = states_and_slopes(model, x, 9)

    monkeypatch.setattr("ncalab.core.rollout.cpu.compiled.tape.MOST_BYTES", 1)
    cut = states_and_slopes(model, x, 9)

    for one, other in zip(whole, cut, strict=True):
        assert torch.equal(one, other)


def test_a_sample_alone_gives_what_it_gives_in_a_batch() -> None:
    model = make(use_alive_mask=True)
    x = torch.rand(5, model.num_channels, 11, 6)

    together = rollout(model, x, 7, seed=2)

    for n in range(5):
        alone = rollout(model, x[n : n + 1], 7, seed=2, samples=[n])
        assert torch.equal(alone[0], together[n])


def test_rollouts_of_several_threads_do_not_wait_for_each_other_forever() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = make()
    x = torch.rand(1, model.num_channels, 80, 70)
    with threads(2):
        want = rollout(model, x, 5, seed=1)
        with ThreadPoolExecutor(6) as pool:
            found = list(pool.map(lambda _: rollout(model, x, 5, seed=1), range(24)))

    assert all(torch.equal(state, want) for state in found)


def test_a_library_of_another_version_is_refused_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(libraries, "INTERFACE", libraries.INTERFACE + 1)
    libraries.library.cache_clear()
    try:
        refused = libraries.library(torch.float32)
    finally:
        libraries.library.cache_clear()

    assert refused == "the compiled engine is of another version: install ncalab-core again"
    assert "until then, rollouts run on slower engines" in caplog.text


def test_without_the_libraries_the_engine_of_operations_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    model = make()
    x = torch.rand(2, model.num_channels, 9, 7)
    want = rollout(model, x, 4, seed=1, engine="fused")

    monkeypatch.setattr(libraries, "FOLDER", tmp_path)
    for cached in (libraries._load, libraries.library):
        cached.cache_clear()
    try:
        reason = compiled.why_not_compiled(model, x)
        plain = rollout(model, x, 4, seed=1, engine="fused")
    finally:
        monkeypatch.undo()
        for cached in (libraries._load, libraries.library):
            cached.cache_clear()

    assert reason == "ncalab-core was installed without the compiled engine"
    assert [reason in message for message in caplog.messages] == [True]
    torch.testing.assert_close(plain, want, atol=1e-5, rtol=0)
