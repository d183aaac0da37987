import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from ncalab.core import Prediction
from ncalab.tasks import GrowingNCAModel
from ncalab.tasks.growing import Cut, GrowthReport, cut_circle, measure_growth

TARGET = torch.zeros(4, 16, 16)
TARGET[:, 4:12, 4:12] = 1.0


class Scripted(GrowingNCAModel):
    """Shows the target with an error that depends on the step, and closes holes or does not."""

    def __init__(self, error_at: Callable[[int], float], *, heals: bool = True) -> None:
        super().__init__(torch.device("cpu"), num_hidden_channels=1, inference_timesteps=64)
        self.error_at, self.heals = error_at, heals

    def predict(self, image: Tensor, steps: Any = None, **options: Any) -> Prediction:
        on_step = options.get("on_step")
        state = image.clone()
        if on_step is None and not self.heals:
            return Prediction(self, steps, state, state[:, :4])
        for step in range(1, steps + 1):
            state[:, :4] = TARGET + math.sqrt(self.error_at(step))
            if on_step is not None:
                on_step(step, state)
        return Prediction(self, steps, state, state[:, :4])


class Still(GrowingNCAModel):
    """Shows the same pictures after every step; ``show`` is told for how many samples."""

    def __init__(self, show: Callable[[int], Tensor]) -> None:
        super().__init__(torch.device("cpu"), num_hidden_channels=1, inference_timesteps=64)
        self.show = show

    def predict(self, image: Tensor, steps: Any = None, **options: Any) -> Prediction:
        state = image.clone()
        state[:, :4] = self.show(len(state))
        for step in range(1, steps + 1):
            if options.get("on_step") is not None:
                options["on_step"](step, state)
        return Prediction(self, steps, state, state[:, :4])


def test_a_model_that_keeps_its_picture_holds_and_heals() -> None:
    report = measure_growth(Scripted(lambda _: 0.0025), TARGET)

    assert report.verdict() == "holds for 1,000 steps; heals"
    assert report.errors == pytest.approx(dict.fromkeys((64, 200, 500, 1000), 0.0025))
    assert report.drifts_after is None and report.pause_after == 0
    assert len(report.cuts) == 8 and report.cuts[0].place == (8, 8)
    assert all(TARGET[3][cut.place] == 1 for cut in report.cuts)
    assert len({cut.place for cut in report.cuts}) > 4
    assert all(cut.after > cut.before for cut in report.cuts)


def test_a_model_that_drifts_pauses_where_it_does() -> None:
    report = measure_growth(Scripted(lambda step: 0.002 if step <= 320 else 0.02), TARGET)

    assert report.verdict() == "drifts after about 320 steps; heals"
    assert report.pause_after == 320


def test_a_model_that_does_not_heal_says_so() -> None:
    report = measure_growth(Scripted(lambda _: 0.0001, heals=False), TARGET)

    assert report.verdict() == "holds for 1,000 steps; heals 0 of 8 cuts"


def test_a_picture_that_is_not_reached_is_described() -> None:
    report = measure_growth(Scripted(lambda _: 0.02), TARGET)

    assert not report.reached
    assert report.verdict() == "blurred at step 64" and report.pause_after == 64


def test_states_that_explode_count_as_drift() -> None:
    report = measure_growth(
        Scripted(lambda step: 0.002 if step < 90 else math.nan), TARGET, length=100
    )

    assert report.drifts_after == 89 and report.errors[100] == math.inf


def test_a_grid_with_a_longer_way_arrives_later() -> None:
    model = Scripted(lambda _: 0.002)
    model.inference_timesteps = 128

    assert measure_growth(model, TARGET, length=200).arrival == 128


def test_a_report_becomes_data() -> None:
    cut = Cut((1, 2), before=0.01, after=0.1, healed=0.015)
    report = GrowthReport(64, 100, {64: 0.001, 100: 0.002}, None, (cut,))

    data = report.to_dict()

    assert data["verdict"] == "holds for 100 steps; heals" and data["errors"]["64"] == 0.001
    assert data["cuts"][0]["place"] == (1, 2)


def test_a_circle_is_cut_where_it_should_be() -> None:
    states = torch.ones(2, 5, 16, 24)

    cut = cut_circle(states, (3, 20))

    assert cut[:, :, 3, 20].sum() == 0 and cut[:, :, 3, 22].sum() == 0
    assert cut[:, :, 3, 17].min() == 1 and states.min() == 1


@pytest.mark.parametrize("shape", [(3, 8, 8), (4, 8)])
def test_a_target_must_be_rgba(shape: tuple[int, ...]) -> None:
    model = GrowingNCAModel(torch.device("cpu"))

    with pytest.raises(ValueError, match=r"target must have shape \(4, W, H\), got"):
        measure_growth(model, torch.zeros(shape))


def test_measuring_leaves_the_generator_alone() -> None:
    model = GrowingNCAModel(torch.device("cpu"), num_hidden_channels=2, inference_timesteps=64)
    before = torch.get_rng_state()

    measure_growth(model, TARGET, length=70)

    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("shown", [0.0, 1.0])
def test_a_thin_picture_is_not_there_because_an_empty_grid_is_near_to_it(shown: float) -> None:
    line = torch.zeros(4, 16, 16)
    line[3, 8, 2:14] = 0.5

    report = measure_growth(Still(lambda _: shown * line), line)

    assert report.empty == pytest.approx(12 * 0.25 / 4 / 256)
    if shown:
        assert report.verdict() == "holds for 1,000 steps; heals"
    else:
        assert report.errors[64] == pytest.approx(report.empty) and report.empty < 0.004
        assert report.verdict() == "not recognisable yet at step 64"


def test_a_cut_that_takes_little_away_must_heal_as_well() -> None:
    assert not Cut((1, 2), before=0.0, after=0.0008, healed=0.0008).heals
    assert Cut((1, 2), before=0.0, after=0.0008, healed=0.00003).heals


def test_a_rollout_that_does_not_get_there_is_counted() -> None:
    def show(count: int) -> Tensor:
        pictures = TARGET.repeat(count, 1, 1, 1)
        if count == 4:
            pictures[3, :, 4:5] = 0
        return pictures

    report = measure_growth(Still(show), TARGET)

    # A quarter of the rollouts lacks 8 of 256 cells.
    assert report.errors[64] == pytest.approx(8 / 256 / 4)
    assert report.grown == 3 and report.to_dict()["grown"] == 3
    assert report.verdict() == "grows 3 times of 4; holds for 1,000 steps; heals"
