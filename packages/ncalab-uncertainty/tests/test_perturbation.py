from typing import Any

import pytest
import torch
from torch import Tensor
from uncertainty_models import KINDS, ValueModel, images, make, values_of

from ncalab.core.rollout import rollout
from ncalab.uncertainty import Perturbation

CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-6}


class Returning(ValueModel):
    """Brings the hidden and output channels half of the way back to 1 at each step."""

    def _update(self, x: Tensor, step: int) -> Tensor:
        return (1 - x) / 2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("disturbance", ["noise", "erase"])
def test_it_is_the_deviation_from_the_undisturbed_prediction(kind: str, disturbance: Any) -> None:
    model = make(kind)
    x = images(model)

    heatmap, predictions, score = Perturbation(
        model, N=3, disturbance=disturbance, strength=0.5, recovery=4
    )(x, seed=5)

    undisturbed = values_of(model, [model.predict(x, steps=10, seed=5)])
    deviation = (values_of(model, predictions) - undisturbed).square().mean(dim=0).sqrt()
    torch.testing.assert_close(heatmap, deviation, **CLOSE)
    assert [p.steps for p in predictions] == [10, 10, 10]
    assert score.min() > 1e-4


@pytest.mark.parametrize("disturbance", ["noise", "erase"])
def test_no_disturbance_leaves_no_deviation(disturbance: Any) -> None:
    model = make("mask")

    heatmap, _, _ = Perturbation(model, disturbance=disturbance, strength=0.0)(images(model))

    assert heatmap.max() < 1e-6


def test_what_returns_is_sure_and_the_sooner_the_surer() -> None:
    model = Returning(fire_rate=1.0, pad_noise=True)
    x = images(model)

    left = [
        Perturbation(model, strength=1.0, recovery=steps)(x, seed=0)[2].max().item()
        for steps in (1, 2, 9)
    ]

    assert left[1] == pytest.approx(left[0] / 2, rel=1e-3)
    assert left[2] < left[0] / 200


def test_erasing_everything_sets_all_that_may_change_to_zero() -> None:
    model = make("values", fire_rate=0.0, pad_noise=True)
    x = images(model)

    _, predictions, _ = Perturbation(model, N=1, disturbance="erase", strength=1.0)(x)

    state = predictions[0].output_image
    assert torch.equal(state[:, :2], x)
    assert torch.equal(state[:, 2:], torch.zeros(2, 4, 7, 5))


def test_noise_is_as_strong_as_the_channel_varies() -> None:
    model = make("values", fire_rate=0.0)
    state = torch.rand(1, model.num_channels, 40, 40)
    state[:, -1] *= 100
    state[:, 3] = 7.0

    _, predictions, _ = Perturbation(model, N=1, strength=0.2)(state, seed=0)

    noise = (predictions[0].output_image - state)[0, 2:].std(dim=(1, 2), correction=0)
    want = 0.2 * state[0, 2:].std(dim=(1, 2), correction=0)
    torch.testing.assert_close(noise, want, rtol=0.1, atol=0)
    assert noise[1] == 0


def test_disturbances_differ_and_come_again_with_the_seed() -> None:
    model = make("mask")
    x, estimator = images(model), Perturbation(model, N=2)

    heatmap, predictions, _ = estimator(x, seed=1)

    assert not torch.equal(predictions[0].output_image, predictions[1].output_image)
    assert torch.equal(estimator(x, seed=1)[0], heatmap)
    assert not torch.equal(estimator(x, seed=2)[0], heatmap)


def test_steps_are_counted_on() -> None:
    model = make("values", use_temporal_encoding=True, inference_timesteps=3)
    x = images(model)
    state = model.predict(x, steps=3, seed=1).output_image

    _, predictions, _ = Perturbation(model, N=1, strength=0.0, recovery=2)(x, seed=1)

    with torch.no_grad():
        want = rollout(model, state, 2, start=3, seed=1)
    torch.testing.assert_close(predictions[0].output_image, want, **CLOSE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strength": -0.1}, "strength must be at least 0 and finite, got -0.1"),
        ({"strength": float("nan")}, "strength must be at least 0 and finite, got nan"),
        ({"disturbance": "erase", "strength": 1.5}, r"strength must be in \[0, 1\], got 1.5"),
        ({"disturbance": "shake"}, "disturbance must be one of noise, erase"),
        ({"recovery": 0}, "recovery must be at least 1, got 0"),
        ({"N": 0}, "N must be at least 1, got 0"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Perturbation(make("values"), **options)
