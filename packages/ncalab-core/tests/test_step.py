"""One step against an independent transcription of the paper's equations, and its invariants."""

from typing import Any

import numpy as np
import pytest
import torch
from core_models import MakeModel
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.fire import FireClock
from ncalab.core.rollout import Engine, rollout

ENGINES: list[Engine] = ["reference", "fused"]
Array = np.ndarray


def transcribed_step(x: Array, fire: Array, w1: Array, b1: Array, w2: Array, alive: bool) -> Array:
    """Mordvintsev et al. 2020 in numpy: states ``(C, W, H)``, reflecting border."""
    sobel = np.outer([1, 2, 1], [-1, 0, 1]) / 8

    def windows(plane: Array, **mode: Any) -> Array:
        return np.lib.stride_tricks.sliding_window_view(np.pad(plane, 1, **mode), (3, 3))

    def living(state: Array) -> Array:
        around = windows(state[3], mode="constant", constant_values=-np.inf)
        return np.asarray(around.max(axis=(2, 3)) > 0.1)

    seen = [windows(plane, mode="reflect") for plane in x]
    views = [[(s * k).sum(axis=(2, 3)) for s in seen] for k in (sobel, sobel.T)]
    p = np.stack([*x, *views[0], *views[1]])
    hidden = np.maximum(np.einsum("hp,pij->hij", w1, p) + b1[:, None, None], 0)
    after = x + fire * np.einsum("ch,hij->cij", w2, hidden)
    return np.asarray(after * (living(x) & living(after)) if alive else after)


def transcribed_rollout(model: AbstractNCAModel, x: Tensor, steps: int, seed: int) -> Array:
    names = ("network.0.weight", "network.0.bias", "network.2.weight")
    w1, b1, w2 = (model.rule.get_parameter(name).detach().squeeze().numpy() for name in names)
    states = []
    for sample, state in enumerate(x.numpy()):
        clock = FireClock(seed, model.fire_rate, [sample], 0, steps, x.device)
        for step in range(steps):
            fire = clock.mask(step, *state.shape[1:])[0].numpy()
            state = transcribed_step(state, fire, w1, b1, w2, model.use_alive_mask)
        states.append(state)
    return np.stack(states)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("alive", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_steps_equal_the_papers_equations(
    make_model: MakeModel, engine: Engine, alive: bool, dtype: torch.dtype, tolerance: float
) -> None:
    model = make_model(use_alive_mask=alive, immutable_image_channels=False).to(dtype)
    x = torch.rand(2, 9, 7, 5, dtype=dtype) - 0.5

    got = rollout(model, x, 5, seed=11, engine=engine)

    want = transcribed_rollout(model, x, 5, seed=11)
    np.testing.assert_allclose(got.detach().numpy(), want, atol=tolerance, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
def test_fire_rate_0_is_the_identity(make_model: MakeModel, image: Tensor, engine: Engine) -> None:
    model = make_model(fire_rate=0.0)
    x = torch.rand(2, 9, 6, 9)

    assert torch.equal(rollout(model, x, 4, engine=engine), x)


@pytest.mark.parametrize("engine", ENGINES)
def test_an_untrained_model_is_the_identity(make_model: MakeModel, engine: Engine) -> None:
    x = torch.rand(2, 9, 6, 9)

    assert torch.equal(rollout(make_model(awake=False), x, 4, engine=engine), x)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("shift", [(1, 0), (0, 3), (-2, 5)])
def test_circular_padding_gives_translation_equivariance(
    make_model: MakeModel, engine: Engine, shift: tuple[int, int]
) -> None:
    model = make_model(filter_padding="circular", fire_rate=1.0).double()
    x = torch.rand(2, 9, 6, 9, dtype=torch.float64)

    shifted_first = rollout(model, x.roll(shift, (2, 3)), 5, engine=engine)
    shifted_last = rollout(model, x, 5, engine=engine).roll(shift, (2, 3))

    torch.testing.assert_close(shifted_first, shifted_last, atol=1e-13, rtol=0)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("poison", [0.0, float("nan"), float("inf")])
@pytest.mark.parametrize("alive", [False, True])
def test_immutable_image_channels_stay_equal_to_the_bit(
    make_model: MakeModel, engine: Engine, poison: float, alive: bool
) -> None:
    model = make_model(use_alive_mask=alive)
    x = torch.rand(2, 9, 6, 9)
    x[:, 5, 2, 3] += poison

    after = rollout(model, x, 12, engine=engine)

    assert torch.equal(after[:, :4], x[:, :4])
    assert not torch.equal(after[:, 4:], x[:, 4:])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_cell_with_no_living_neighbour_stays_dead(make_model: MakeModel, engine: Engine) -> None:
    model = make_model(use_alive_mask=True, immutable_image_channels=False)
    x = torch.zeros(1, 9, 9, 9)
    x[:, 3:, 4, 4] = 1
    x[:, 5, 0, 0] = 7.0  # not empty, but not visible either

    for step in range(1, 4):
        after = rollout(model, x, step, seed=0, engine=engine)
        reach = torch.zeros(9, 9, dtype=torch.bool)
        reach[4 - step : 5 + step, 4 - step : 5 + step] = True
        assert after[..., ~reach].abs().max() == 0
    assert after.abs().max() > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_a_rollout_changes_no_input(make_model: MakeModel, engine: Engine) -> None:
    x = torch.rand(2, 9, 6, 9)
    before = x.clone()

    rollout(make_model(), x, 3, engine=engine)

    assert torch.equal(x, before)


@pytest.mark.parametrize("engine", ENGINES)
def test_two_rollouts_in_a_row_equal_one(make_model: MakeModel, engine: Engine) -> None:
    model = make_model(use_temporal_encoding=True)
    x = torch.rand(2, 9, 6, 9)

    half = rollout(model, x, 3, seed=8, engine=engine)
    whole = rollout(model, half, 4, start=3, seed=8, engine=engine)

    assert torch.equal(whole, rollout(model, x, 7, seed=8, engine=engine))


@pytest.mark.parametrize("engine", ENGINES)
def test_samples_run_alone_with_their_index_as_in_a_batch(
    make_model: MakeModel, engine: Engine
) -> None:
    model = make_model().double()
    x = torch.rand(8, 9, 6, 9, dtype=torch.float64)

    together = rollout(model, x, 5, seed=2, engine=engine)

    for i in range(8):
        alone = rollout(model, x[i : i + 1], 5, seed=2, samples=[i], engine=engine)
        torch.testing.assert_close(alone[0], together[i], atol=1e-13, rtol=0)
