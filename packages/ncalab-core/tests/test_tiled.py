"""A grid cut into bands gives what the whole grid gives."""

from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from core_models import MakeModel, TinyModel, awaken
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from ncalab.core.rollout import rollout, tiled_rollout
from ncalab.core.rollout.tiled import Tiling

CPU = torch.device("cpu")
PADDINGS = ["zero", "reflect", "replicate", "circular"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(PADDINGS),
    st.sampled_from([{}, {"num_learned_filters": 2, "kernel_size": 5}]),
    st.booleans(),
    st.sampled_from([(1, 1), (3, 20), (31, 5), (17, 17), (40, 1)]),
    st.integers(1, 12),
    st.integers(1, 8),
)
def test_bands_equal_the_whole(
    padding: Any,
    filters: dict[str, Any],
    alive: bool,
    grid: tuple[int, int],
    tile: int,
    steps: int,
) -> None:
    torch.manual_seed(0)
    model = TinyModel(
        CPU, 4, 3, 1, hidden_size=8, filter_padding=padding, use_alive_mask=alive, **filters
    ).double()
    awaken(model)
    x = torch.randn(2, model.num_channels, *grid, dtype=torch.float64)

    parts = tiled_rollout(model, x, steps, start=3, seed=9, tile=tile, progress=False)

    whole = rollout(model, x, steps, start=3, seed=9)
    torch.testing.assert_close(parts, whole, atol=1e-11, rtol=1e-11)


@pytest.mark.parametrize("tile", [2, 5])
def test_life_does_not_spread_around_the_border(tile: int) -> None:
    torch.manual_seed(0)
    model = TinyModel(CPU, 4, 3, 1, filter_padding="circular", use_alive_mask=True, fire_rate=1.0)
    awaken(model)
    x = torch.zeros(1, model.num_channels, 17, 4)
    x[:, :, -1] = 0.5

    parts = tiled_rollout(model, x, 1, seed=9, tile=tile, progress=False)

    assert not parts[:, 4:, 0].any()
    assert parts[:, 4:, -2].any()
    torch.testing.assert_close(parts, rollout(model, x, 1, seed=9), atol=1e-6, rtol=0)


def wide(model: TinyModel) -> Tensor:
    return torch.rand(1, model.num_channels, 37, 6)


def test_states_are_replaced_only_when_asked_for(make_model: MakeModel) -> None:
    model = make_model()
    x = wide(model)
    before = x.clone()

    apart = tiled_rollout(model, x, 5, seed=1, tile=4, progress=False)
    assert torch.equal(x, before)

    within = tiled_rollout(model, x, 5, seed=1, tile=4, out=x, progress=False)
    assert within is x
    assert torch.equal(x, apart)


@pytest.mark.parametrize("in_place", [False, True])
def test_states_in_a_file_become_what_states_in_memory_become(
    make_model: MakeModel, tmp_path: Path, in_place: bool
) -> None:
    model = make_model(filter_padding="circular")
    x = wide(model)
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, tuple(x.shape))
    file[:] = x.numpy()
    out = file
    if not in_place:
        out = np.lib.format.open_memmap(tmp_path / "y.npy", "w+", np.float32, tuple(x.shape))

    result = tiled_rollout(model, file, 5, seed=1, tile=5, out=out, progress=False)

    assert result is out
    want = rollout(model, x, 5, seed=1)
    torch.testing.assert_close(torch.from_numpy(np.array(result)), want, atol=1e-5, rtol=0)
    assert np.array_equal(file, x.numpy()) is not in_place


def test_a_tiled_prediction_equals_the_whole_one_and_keeps_its_input(
    make_model: MakeModel,
) -> None:
    model = make_model(pad_noise=True)
    image = torch.rand(1, model.num_image_channels, 50, 7)
    state = wide(model)
    before = state.clone()

    tiled, whole = (model.predict(image, 6, seed=4, tile=t) for t in (8, None))

    torch.testing.assert_close(tiled.output_image, whole.output_image, atol=1e-5, rtol=0)
    assert tiled.steps == 6
    model.predict(state, 3, tile="auto")
    assert torch.equal(state, before)


def test_bands_hold_working_memory_whatever_the_grid(make_model: MakeModel) -> None:
    model = make_model()

    small, large = (Tiling.choose(model, (1, 9, n, 4096), None, None) for n in (10**5, 10**7))

    assert small == large
    assert small.columns < 10**5


class Gossip(TinyModel):
    """A model whose cells hear of cells two places away."""

    def _update(self, x: Tensor, step: int) -> Tensor:
        return x.roll(2, dims=2) - x


def test_a_model_of_unknown_reach_is_tiled_only_with_its_reach() -> None:
    model = Gossip(CPU, 1, 1, 0, fire_rate=1.0, immutable_image_channels=False)
    model.filter_padding = "circular"
    x = torch.rand(1, 2, 30, 4)

    with pytest.raises(ValueError, match="reach must be given.*Gossip overrides _update"):
        tiled_rollout(model, x, 3, tile=5)
    parts = tiled_rollout(model, x, 3, tile=5, reach=2, progress=False)

    assert torch.equal(parts, rollout(model, x, 3))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"tile": 0}, ValueError, "tile must be at least 1, got 0"),
        ({"reach": -1}, ValueError, "reach must be at least 0, got -1"),
        ({"out": torch.zeros(1, 9, 4, 5)}, ValueError, r"out must have the shape.*\(1, 9, 4, 5\)"),
        ({"out": np.zeros((1, 9, 4, 4))}, TypeError, "out must be a Tensor as x is, got ndarray"),
        ({"x": np.zeros((1, 9, 4, 4))}, TypeError, "x must be a tensor, got ndarray"),
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
    ],
)
def test_bad_input_is_named(
    make_model: MakeModel, change: dict[str, Any], error: type[Exception], message: str
) -> None:
    arguments: dict[str, Any] = {"x": torch.rand(1, 9, 4, 4), "steps": 1, **change}

    with pytest.raises(error, match=message):
        tiled_rollout(make_model(), progress=False, **arguments)


def test_files_that_cannot_take_the_result_are_refused(
    make_model: MakeModel, tmp_path: Path
) -> None:
    model = make_model()
    shape = (1, model.num_channels, 6, 6)
    file = np.lib.format.open_memmap(tmp_path / "x.npy", "w+", np.float32, shape)
    fixed = np.load(tmp_path / "x.npy", mmap_mode="r")

    with pytest.raises(TypeError, match="out must be given for states in a file"):
        tiled_rollout(model, file, 1)
    with pytest.raises(ValueError, match="out must be mapped with mode r.*got r"):
        tiled_rollout(model, file, 1, out=fixed)
    with pytest.raises(ValueError, match="x must be a whole memory-mapped array"):
        tiled_rollout(model, cast(np.memmap, file[:, :, :3]), 1, out=file)
