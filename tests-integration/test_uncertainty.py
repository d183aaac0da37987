"""Uncertainty of every task's predictions, alone and in a cascade; and the example."""

import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from cascade_models import cascade_of
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.testing import awaken
from ncalab.tasks import CascadeNCA, DepthNCAModel, GrowingNCAModel, SegmentationNCAModel
from ncalab.uncertainty import MCMC, NQM, Perturbation, TestTimeAugmentation

CPU = torch.device("cpu")
CLOSE: dict[str, Any] = {"rtol": 0, "atol": 1e-6}
EXAMPLE = Path(__file__).parent.parent / "examples" / "uncertainty_nuclei" / "train.py"
TASKS = ["growing", "depth", "mask", "classes"]
ESTIMATORS = [NQM, MCMC, TestTimeAugmentation, Perturbation]


def make(task: str, *, cascade: bool) -> AbstractNCAModel:
    torch.manual_seed(0)
    common: dict[str, Any] = {"num_hidden_channels": 4, "hidden_size": 8}
    common["inference_timesteps"] = 12
    models: dict[str, Callable[[], AbstractNCAModel]] = {
        "growing": lambda: GrowingNCAModel(CPU, use_alive_mask=True, **common),
        "depth": lambda: DepthNCAModel(CPU, depth_scale=5.0, **common),
        "mask": lambda: SegmentationNCAModel(CPU, **common),
        "classes": lambda: SegmentationNCAModel(CPU, num_classes=3, **common),
    }
    model = models[task]()
    awaken(model, 0.2)
    return CascadeNCA(model, [4, 2, 1], [4, 4, 4], single_model=False) if cascade else model


def images(model: AbstractNCAModel, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.rand(batch, model.num_image_channels, 11, 6, generator=generator)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_measures_every_task(estimator: Any, cascade: bool, task: str) -> None:
    model = make(task, cascade=cascade)

    heatmap, predictions, score = estimator(model)(images(model), seed=0)

    channels = {"growing": 4, "depth": 1, "mask": 1, "classes": 3}[task]
    assert heatmap.shape == (2, channels, 11, 6)
    assert score.shape == (2, channels)
    assert heatmap.isfinite().all() and heatmap.min() >= 0 and score.max() > 0
    assert predictions[-1].output_image.shape == (2, model.num_channels, 11, 6)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cascade", [False, True])
def test_passes_are_single_predictions(cascade: bool, task: str) -> None:
    model = make(task, cascade=cascade)
    x = images(model)

    heatmap, predictions, _ = NQM(model, N=3)(x, seed=4)

    singles = []
    for n, prediction in enumerate(predictions):
        samples = [i + n * 2**32 for i in range(2)]
        single = model.predict(x, seed=4, samples=samples)
        torch.testing.assert_close(prediction.output_image, single.output_image, **CLOSE)
        assert type(prediction) is type(single)
        singles.append(model.interpret(single))
    # Depth is in units of 5.
    torch.testing.assert_close(
        heatmap, torch.stack(singles).std(dim=0, correction=0), rtol=0, atol=5e-6
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("cascade", [False, True])
def test_the_last_steps_are_those_of_a_record(cascade: bool, task: str) -> None:
    model = make(task, cascade=cascade)
    x = images(model)

    _, predictions, _ = MCMC(model, N_last=6)(x, seed=4)

    for one, other in zip(predictions, model.record(x, seed=4)[-6:], strict=True):
        torch.testing.assert_close(one.output_image, other.output_image, **CLOSE)
        assert one.steps == other.steps


def test_a_disturbed_cascade_goes_on_at_its_last_scale() -> None:
    model = make("mask", cascade=True)
    assert isinstance(model, CascadeNCA)
    x = images(model)
    state = model.predict(x, seed=3).output_image

    _, predictions, _ = Perturbation(model, N=1, strength=0.0, recovery=5)(x, seed=3)

    with torch.no_grad():
        want = model.wrapped.continue_rollout(state, 5, start=12, seed=3, samples=range(2))
    torch.testing.assert_close(predictions[0].output_image, want, **CLOSE)


def test_depth_spreads_in_its_unit() -> None:
    model = make("depth", cascade=False)
    assert isinstance(model, DepthNCAModel)
    x = images(model)
    metres = NQM(model, N=3)(x, seed=0)[0]
    model.depth_scale = 5000.0

    millimetres = NQM(model, N=3)(x, seed=0)[0]
    torch.testing.assert_close(millimetres, 1000 * metres, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("kind", ["head", "growing", "scores"])
def test_cascades_with_a_head_or_without_output_channels_work(kind: str) -> None:
    model = cascade_of(kind)
    x = images(model)

    for estimator in (NQM(model, N=2), MCMC(model, N_last=2)):
        heatmap, _, score = estimator(x)
        assert heatmap.isfinite().all() and heatmap.ndim == 4
        assert score.shape == heatmap.shape[:2]


@pytest.mark.skipif(find_spec("stardist") is None, reason="the nuclei are in the package stardist")
def test_the_example_ranks_masks_better_than_chance_and_than_their_area(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE), "--short", "--output", str(tmp_path / "run")]

    result = subprocess.run(command, capture_output=True, text=True)

    assert result.returncode == 0, result.stderr
    names = ["nqm", "random", "area", "best"]
    pattern = "aurc: " + " ".join(rf"{name}=(\d\.\d{{4}})" for name in names)
    found = re.fullmatch(pattern, result.stdout.splitlines()[-1])
    assert found is not None, result.stdout
    nqm, random, area, best = map(float, found.groups())
    assert best < nqm < min(random, area)
    assert {"risk_coverage.png", "crops.png"} == {f.name for f in (tmp_path / "run").iterdir()}


def test_the_example_names_a_wrong_size() -> None:
    command = [sys.executable, str(EXAMPLE), "--size", "0"]

    result = subprocess.run(command, capture_output=True, text=True)

    assert result.returncode == 2
    assert "--size must be in [1, 256], got 0" in result.stderr
