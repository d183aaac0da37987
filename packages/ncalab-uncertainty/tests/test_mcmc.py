from typing import Any

import pytest
import torch
from uncertainty_models import KINDS, images, make, values_of

from ncalab.uncertainty import MCMC

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-6}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_deviation_of_the_last_steps(kind: str) -> None:
    model = make(kind)
    x = images(model)

    heatmap, predictions, score = MCMC(model, N_last=4).estimate(x, "max", seed=7)

    last = model.record(x, seed=7)[-4:]
    deviation = values_of(model, last).std(dim=0, correction=0)
    torch.testing.assert_close(heatmap, deviation, **CLOSE)
    torch.testing.assert_close(score, deviation.amax(dim=(2, 3)), **CLOSE)
    assert [p.steps for p in predictions] == [3, 4, 5, 6]
    for one, other in zip(predictions, last, strict=True):
        torch.testing.assert_close(one.output_image, other.output_image, **CLOSE)
    assert heatmap.max() > 1e-4


@pytest.mark.parametrize("seed", range(4))
def test_the_final_prediction_is_the_plain_one(seed: int) -> None:
    model = make("mask", pad_noise=True, inference_timesteps=(3, 9))
    x = images(model)

    _, predictions, _ = MCMC(model, N_last=3)(x, seed=seed)

    want = model.predict(x, seed=seed)
    torch.testing.assert_close(predictions[-1].output_image, want.output_image, **CLOSE)
    assert [p.steps for p in predictions] == [want.steps - 2, want.steps - 1, want.steps]


@pytest.mark.parametrize("normalize", [False, True])
def test_one_step_has_no_deviation(normalize: bool) -> None:
    model = make("mask")

    heatmap, _, score = MCMC(model, 1, normalize)(images(model))

    assert torch.equal(heatmap, torch.zeros(2, 1, 7, 5))
    assert torch.equal(score, torch.zeros(2, 1))


def test_it_may_take_all_steps_but_no_more() -> None:
    model = make("values")
    x = images(model)

    assert len(MCMC(model, N_last=6)(x)[1]) == 6
    with pytest.raises(ValueError, match="N_last must be at most the number of steps .* 6, got 7"):
        MCMC(model, N_last=7)(x)
    with pytest.raises(ValueError, match="number of steps of a rollout, 4, got 5"):
        MCMC(model, N_last=5)(x, steps=(4, 50))


def test_normalizing_divides_by_the_foreground() -> None:
    model = make("mask")
    x = images(model)

    heatmap, predictions, _ = MCMC(model, 4, True)(x, seed=1)

    p = values_of(model, predictions)
    want = p.std(dim=0, correction=0) / p.mean(dim=0).sum(dim=(2, 3), keepdim=True)
    torch.testing.assert_close(heatmap, want, **CLOSE)


def test_the_same_seed_gives_the_same_again() -> None:
    model = make("classes")
    x = images(model)

    one, same, other = (MCMC(model, 3)(x, seed=seed)[0] for seed in (1, 1, 2))

    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_final_prediction_alone_can_be_kept() -> None:
    model = make("mask")
    x = images(model)

    heatmap, predictions, _ = MCMC(model, 3, keep_predictions=False)(x, seed=1)

    assert [p.steps for p in predictions] == [6]
    assert torch.equal(heatmap, MCMC(model, 3)(x, seed=1)[0])


def test_a_progress_bar_counts_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    model = make("mask")

    MCMC(model, 3, progress=True)(images(model))

    assert "6/6" in capsys.readouterr().err
