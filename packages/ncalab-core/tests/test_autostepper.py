import logging
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from torch import Tensor

from ncalab.core import AutoStepper
from ncalab.core.multiscale import MultiScale


class CountdownModel(TinyModel):
    """Changes its hidden channel by 1 for three steps, then falls silent."""

    def _update(self, x: Tensor, step: int) -> Tensor:
        return torch.full_like(x, float(step < 3))


@pytest.fixture
def countdown() -> CountdownModel:
    return CountdownModel(torch.device("cpu"), 1, 1, 0, fire_rate=1.0)


def test_it_stops_after_the_plateau(countdown: CountdownModel) -> None:
    stepper = AutoStepper(min_steps=1, max_steps=50, plateau=4)

    prediction = stepper.run(countdown, torch.zeros(1, 1, 3, 3))

    assert prediction.steps == 3 + 4
    assert prediction.hidden_channels.unique().item() == 3.0


def test_a_second_run_starts_anew(countdown: CountdownModel) -> None:
    stepper = AutoStepper(min_steps=1, max_steps=50, plateau=4)

    steps = [stepper(countdown, torch.zeros(1, 1, 3, 3)).steps for _ in range(2)]

    assert steps[0] == steps[1]


def test_min_steps_are_always_run(countdown: CountdownModel) -> None:
    stepper = AutoStepper(min_steps=20, max_steps=50, plateau=4)

    assert stepper.run(countdown, torch.zeros(1, 1, 3, 3)).steps == 20


def test_max_steps_end_a_restless_model(make_model: MakeModel, image: Tensor) -> None:
    stepper = AutoStepper(min_steps=1, max_steps=13, threshold=0.0)

    assert stepper.run(make_model(), image).steps == 13


def test_the_most_active_sample_decides() -> None:
    stepper = AutoStepper()
    stepper.hidden_i_1 = torch.zeros(2, 1, 2, 2)
    stepper.hidden_i = torch.stack([torch.zeros(1, 2, 2), torch.full((1, 2, 2), -0.5)])

    assert stepper._score().item() == 0.5


def test_it_equals_predict_with_its_number_of_steps(make_model: MakeModel, image: Tensor) -> None:
    model = make_model()
    stepper = AutoStepper(min_steps=5, max_steps=30, plateau=1, threshold=1e9)

    prediction = stepper.run(model, image, seed=4)

    assert prediction.steps == 5
    assert not prediction.output_image.requires_grad
    want = model.predict(image, 5, seed=4).output_image
    assert torch.equal(prediction.output_image, want)


class CoarseModel(CountdownModel):
    """Takes a third of the steps on another grid."""

    @property
    def runner(self) -> MultiScale:
        plain = CountdownModel(torch.device("cpu"), 1, 1, 0, fire_rate=1.0)
        return MultiScale([plain, plain], [2, 1], [1, 2], fixed=0)


def test_coarse_steps_are_run_in_full_and_count_for_no_plateau() -> None:
    model = CoarseModel(torch.device("cpu"), 1, 1, 0, fire_rate=1.0)
    stepper = AutoStepper(min_steps=1, max_steps=60, plateau=4)

    assert stepper.run(model, torch.zeros(1, 1, 3, 3)).steps == 60 // 3 + 4


def test_verbose_logs_the_last_step(
    countdown: CountdownModel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        AutoStepper(1, 50, plateau=4, verbose=True).run(countdown, torch.zeros(1, 1, 3, 3))

    assert "stopped after step 7" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_steps": 0}, "min_steps must be at least 1, got 0"),
        ({"max_steps": 5}, "max_steps must be more than min_steps = 10, got 5"),
        ({"max_steps": 10}, "max_steps must be more than min_steps = 10, got 10"),
        ({"plateau": 0}, "plateau must be at least 1, got 0"),
        ({"threshold": -1.0}, "threshold must be at least 0 and finite, got -1.0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AutoStepper(**arguments)


def test_a_word_is_no_flag() -> None:
    with pytest.raises(TypeError, match="verbose must be True or False, got 'yes'"):
        AutoStepper(1, 50, verbose="yes")  # type: ignore[arg-type]  # the fault under test
