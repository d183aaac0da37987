from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from uncertainty_models import images, make

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.uncertainty import (
    MCMC,
    NQM,
    Perturbation,
    TestTimeAugmentation,
    UncertaintyEstimator,
    reduce_heatmap,
)


class Constant(UncertaintyEstimator):
    """Knows none of the options: its heat map counts the cells, plus 100 for the second channel."""

    calls = 0

    def _estimate(self, image: Tensor) -> tuple[Tensor, list[Prediction]]:  # type: ignore[override]  # it knows no options
        self.calls += 1
        _, _, width, height = image.shape
        one = torch.arange(width * height, dtype=torch.float32).view(1, 1, width, height)
        heatmap = torch.cat([one, one + 100], dim=1).expand(len(image), -1, -1, -1)
        return heatmap, [self.nca.predict(image, steps=1)]


@pytest.mark.parametrize(
    ("reduce", "value"), [("mean", 17.0), ("max", 34.0), ("sum", 595.0), ("median", 17.0)]
)
def test_every_reduction_is_that_of_the_heat_map(reduce: str, value: float) -> None:
    model = make("values")

    heatmap, predictions, score = Constant(model).estimate(images(model), reduce)

    second = value + (3500 if reduce == "sum" else 100)
    assert score.tolist() == [[value, second], [value, second]]
    assert heatmap.shape == (2, 2, 7, 5)
    assert len(predictions) == 1


@pytest.mark.parametrize("reduce", ["mean", "max", "sum"])
def test_reductions_agree_with_numpy(reduce: str) -> None:
    heatmap = torch.rand(3, 2, 5, 4, generator=torch.Generator().manual_seed(0))

    want = getattr(np, reduce)(heatmap.numpy(), axis=(2, 3))

    np.testing.assert_allclose(reduce_heatmap(heatmap, reduce).numpy(), want, rtol=1e-6)


def test_calling_an_estimator_is_estimating() -> None:
    model = make("mask")
    estimator, x = NQM(model, N=3), images(model)

    called = estimator(x, "max", seed=4)
    estimated = estimator.estimate(x, reduce="max", seed=4)

    assert torch.equal(called[0], estimated[0])
    assert torch.equal(called[2], estimated[2])
    assert called[0].max() > 0


def test_an_unknown_reduction_is_refused_before_any_work() -> None:
    model = make("values")
    estimator = Constant(model)

    with pytest.raises(ValueError, match="reduce must be one of mean, max, sum, median, got 'min'"):
        estimator.estimate(images(model), "min")

    assert estimator.calls == 0


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match="nca must be an AbstractNCAModel, got Linear"):
        NQM(torch.nn.Linear(1, 1))  # type: ignore[arg-type]  # of a wrong type


def test_what_is_no_image_is_refused() -> None:
    model = make("values")

    with pytest.raises(ValueError, match="x must have 2 channels"):
        NQM(model)(torch.rand(1, 3, 7, 5))
    with pytest.raises(TypeError, match="floating point"):
        MCMC(model, 2)(torch.zeros(1, 2, 7, 5, dtype=torch.uint8))


@pytest.mark.parametrize("training", [False, True])
def test_mode_image_and_gradients_are_left_alone(training: bool) -> None:
    model = make("mask").train(training)
    x = images(model).requires_grad_()
    before = x.detach().clone()

    heatmap, predictions, score = NQM(model, N=2).estimate(x)

    assert model.training is training
    assert torch.equal(x.detach(), before)
    assert not any(t.requires_grad for t in (heatmap, predictions[0].output_image, score))
    assert torch.is_grad_enabled()


def test_the_mode_is_restored_after_an_error() -> None:
    model = make("values").train()

    with pytest.raises(ValueError):
        NQM(model).estimate(torch.rand(1, 9, 7, 5))

    assert model.training


ESTIMATORS: list[Callable[[AbstractNCAModel], UncertaintyEstimator]] = [
    lambda model: MCMC(model, 3),
    lambda model: NQM(model, N=3),
    lambda model: Perturbation(model, N=3, recovery=2),
    lambda model: TestTimeAugmentation(model, transforms="flips"),
]


@pytest.mark.parametrize("build", ESTIMATORS)
def test_an_estimate_is_of_predictions_towards_the_goal(
    build: Callable[[AbstractNCAModel], UncertaintyEstimator],
) -> None:
    model = make("values", goal_size=3, num_goals=4)
    x, goal = images(model), torch.tensor([2, 0])
    estimator = build(model)

    heatmap, predictions, _ = estimator.estimate(x, seed=4, goal=goal)

    other = estimator.estimate(x, seed=4, goal=torch.tensor([2, 1]))
    torch.testing.assert_close(other[0][:1], heatmap[:1])
    assert not torch.allclose(other[0][1:], heatmap[1:])
    if isinstance(estimator, MCMC):
        want = model.predict(x, seed=4, goal=goal)
        assert torch.equal(predictions[-1].logits, want.logits)
    with pytest.raises(TypeError, match="goal must be a tensor for this model, got NoneType"):
        estimator.estimate(x)
