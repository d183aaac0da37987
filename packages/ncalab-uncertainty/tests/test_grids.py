"""Uncertainty on grids of one and three axes."""

from typing import Any

import pytest
import torch
from uncertainty_models import make

from ncalab.uncertainty import (
    MCMC,
    NQM,
    Perturbation,
    TestTimeAugmentation,
    expected_calibration_error,
    nqm_score,
)

GRIDS = {1: (7,), 3: (5, 4, 3)}


@pytest.mark.parametrize("dims", GRIDS)
@pytest.mark.parametrize("kind", ["values", "mask", "head"])
def test_predictions_of_any_grid_spread(dims: int, kind: str) -> None:
    model = make(kind, spatial_dims=dims)
    x = torch.rand(2, model.num_image_channels, *GRIDS[dims])

    heatmap, predictions, score = NQM(model, N=3).estimate(x, seed=1)

    values = torch.stack([model.interpret(prediction) for prediction in predictions])
    deviation = values.std(dim=0, correction=0)
    assert heatmap.shape[2:] == ((1,) * dims if kind == "head" else GRIDS[dims])
    torch.testing.assert_close(heatmap.view_as(deviation), deviation, rtol=0, atol=1e-6)
    torch.testing.assert_close(score, heatmap.flatten(2).mean(dim=2))


@pytest.mark.parametrize("dims", GRIDS)
@pytest.mark.parametrize("estimator", [MCMC, Perturbation])
def test_other_estimators_take_any_grid(dims: int, estimator: Any) -> None:
    model = make("values", spatial_dims=dims)
    x = torch.rand(2, model.num_image_channels, *GRIDS[dims])
    options = {"N_last": 3} if estimator is MCMC else {"N": 2}

    heatmap, _, _ = estimator(model, **options).estimate(x, seed=1)

    assert heatmap.shape == (2, 1, *GRIDS[dims])
    assert heatmap.count_nonzero()


def test_a_volume_is_normalised_by_all_its_cells() -> None:
    model = make("values", spatial_dims=3)
    x = torch.rand(2, model.num_image_channels, *GRIDS[3])

    spread = NQM(model, N=3).spread(x, seed=1)

    torch.testing.assert_close(spread.relative.flatten(2).sum(dim=2), spread.nqm)
    torch.testing.assert_close(nqm_score(spread.deviation, spread.magnitude), spread.nqm)


def test_images_of_volumes_are_not_turned() -> None:
    with pytest.raises(ValueError, match="nca must have a grid of two axes to turn images"):
        TestTimeAugmentation(make("values", spatial_dims=3))


def test_calibration_counts_the_cells_of_volumes() -> None:
    p = torch.rand(2, 3, *GRIDS[3]).softmax(dim=1)
    labels = torch.randint(0, 3, (2, *GRIDS[3]))

    flat = expected_calibration_error(p.flatten(2)[..., None], labels.flatten(1)[..., None])

    assert expected_calibration_error(p, labels) == pytest.approx(flat)
