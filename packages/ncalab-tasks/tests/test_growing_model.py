import json
from typing import Any

import numpy as np
import pytest
import torch
from torchmetrics import MeanSquaredError, MetricCollection

from ncalab.core import AbstractNCAModel
from ncalab.core.testing import awaken
from ncalab.tasks import GrowingNCAModel

CPU = torch.device("cpu")


def grown(**arguments: Any) -> GrowingNCAModel:
    torch.manual_seed(0)
    model = GrowingNCAModel(CPU, **{"num_hidden_channels": 4, **arguments})
    awaken(model, 0.1)
    return model


def test_the_seed_is_one_living_cell_in_the_middle() -> None:
    seed = grown().make_seed(6, 9)

    assert seed.shape == (1, 8, 6, 9)
    assert seed.nonzero()[:, 2:].unique(dim=0).tolist() == [[3, 4]]
    assert seed[0, :, 3, 4].tolist() == [0, 0, 0, 1, 1, 1, 1, 1]


def test_without_opacity_the_seed_lives_in_the_hidden_channels() -> None:
    seed = grown(num_image_channels=1).make_seed(3, 3)

    assert seed[0, :, 1, 1].tolist() == [0, 1, 1, 1, 1]


@pytest.mark.parametrize(("width", "height", "name"), [(0, 5, "width"), (5, -1, "height")])
def test_a_seed_needs_a_grid(width: int, height: int, name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1"):
        grown().make_seed(width, height)


def test_the_loss_is_the_mean_squared_error_of_the_image_channels() -> None:
    model = grown(lambda_hidden=0.5)
    prediction = model(torch.rand(2, 8, 5, 4), 3)
    target = torch.rand(2, 4, 5, 4)

    losses = model.loss(prediction, target)

    state = prediction.output_image
    mse = (state[:, :4] - target).square().mean()
    hidden = state[:, 4:].square().mean()
    torch.testing.assert_close(losses["mse"], mse)
    torch.testing.assert_close(losses["total"], mse + 0.5 * hidden)


def test_a_target_of_another_shape_names_both_shapes() -> None:
    model = grown()
    prediction = model(torch.rand(1, 8, 5, 4), 1)

    with pytest.raises(ValueError, match=r"\(1, 4, 5, 4\), got \(1, 5, 4, 4\)"):
        model.loss(prediction, torch.rand(1, 5, 4, 4))


def test_grow_returns_an_image_for_each_step() -> None:
    model = grown()
    seed = model.make_seed(5, 7)

    images = model.grow(seed, steps=6, rollout_seed=2)

    want = model.predict(seed, 6, seed=2).image_channels_np[0].transpose(1, 2, 0)
    assert [image.shape for image in images] == [(5, 7, 4)] * 6
    assert np.array_equal(images[-1], want.clip(0, 1))


def test_grow_refuses_more_than_one_seed() -> None:
    with pytest.raises(ValueError, match="seed must be a batch of one, got 2"):
        grown().grow(torch.rand(2, 8, 3, 3))


def test_the_image_channels_are_the_output_and_mutable() -> None:
    model = grown()
    seed = model.make_seed(5, 5)

    prediction = model.predict(seed, 4)

    assert torch.equal(prediction.logits, prediction.image_channels)
    assert prediction.output_channels.shape == (1, 0, 5, 5)
    assert not torch.equal(prediction.image_channels, seed[:, :4])


def test_validation_measures_the_mean_squared_error() -> None:
    model = grown(fire_rate=1.0)
    seeds, targets = model.make_seed(5, 5).repeat(3, 1, 1, 1), torch.rand(3, 4, 5, 5)
    loader: Any = [(seeds[:2], targets[:2]), (seeds[2:], targets[2:])]

    values, _ = model.validate(loader, steps=3)

    want = (model.predict(seeds, 3).image_channels - targets).square().mean().item()
    assert values["mse"] == pytest.approx(want, rel=1e-5)
    assert model.named_metrics()["mse"].higher_is_better is False


def test_a_metric_of_ones_own_is_fed() -> None:
    model = grown(fire_rate=1.0)
    model.metrics["errors"] = MetricCollection({"mse": MeanSquaredError()})
    loader: Any = [(model.make_seed(5, 5), torch.rand(1, 4, 5, 5))]

    values, _ = model.validate(loader, steps=3)

    assert values["errors_mse"] == values["mse"] > 0


@pytest.mark.parametrize("arguments", [{}, {"lambda_hidden": 0.1, "num_learned_filters": 2}])
def test_a_configuration_survives_json(arguments: dict[str, Any]) -> None:
    model = grown(**arguments, use_alive_mask=True, training_timesteps=(3, 5))

    twin = AbstractNCAModel.from_dict(json.loads(json.dumps(model.to_dict())))

    assert isinstance(twin, GrowingNCAModel)
    assert twin.to_dict() == model.to_dict()


def test_a_negative_lambda_is_refused() -> None:
    with pytest.raises(ValueError, match="lambda_hidden must be at least 0 and finite, got -1"):
        GrowingNCAModel(CPU, lambda_hidden=-1)


def test_a_seed_that_would_die_has_a_gradient_where_the_loss_asks_for_it() -> None:
    model = grown(use_alive_mask=True, lambda_seed=0.5, fire_rate=1.0)
    network: Any = model.rule.network
    last = network[-1]
    with torch.no_grad():
        for parameter in model.rule.parameters():
            parameter.mul_(0)
        last.bias = torch.nn.Parameter(torch.zeros(8))
        last.bias[3] = -0.95
    target = torch.ones(1, 4, 7, 7)

    prediction = model(model.make_seed(7, 7), 1)
    losses = model.loss(prediction, target)
    losses["total"].backward()

    assert prediction.output_image.abs().max() == 0  # the seed is dead
    assert losses["seed"].item() == pytest.approx(0.45**2)
    assert losses["total"].item() == pytest.approx(1 + 0.5 * 0.45**2)
    assert last.bias.grad[3].item() == pytest.approx(-2 * 0.45 * 0.5)


def test_where_samples_die_a_seed_must_live_for_longer() -> None:
    model = grown(use_alive_mask=True, lambda_seed=1.0, fire_rate=1.0)
    network: Any = model.rule.network
    with torch.no_grad():
        for parameter in model.rule.parameters():
            parameter.mul_(0)
        network[-1].bias = torch.nn.Parameter(torch.zeros(8))
        network[-1].bias[3] = -0.25  # 0.75, 0.5, 0.25, 0 at the first four steps
    target = torch.ones(1, 4, 7, 7)

    alive = model.loss(model(model.make_seed(7, 7), 1), target)
    dead = model.loss(model(model.make_seed(7, 7), 4), target)

    assert alive["seed"] == 0
    assert dead["seed"].item() == pytest.approx(0.25**2 + 0.5**2)


def test_a_line_of_cells_grows_from_a_seed() -> None:
    model = grown(spatial_dims=1)

    seed = model.make_seed(9)

    assert seed.shape == (1, model.num_channels, 9)
    assert seed[0, 3].tolist() == [0] * 4 + [1] + [0] * 4
    assert [image.shape for image in model.grow(seed, 2)] == [(9, 4)] * 2
    with pytest.raises(ValueError, match=r"must be given the sizes of 1 axes, got \(9, 1\)"):
        model.make_seed(9, 1)


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_a_seed_that_lives_costs_nothing(dims: int) -> None:
    model = grown(use_alive_mask=True, lambda_seed=1.0, spatial_dims=dims)
    grid = [5] * dims
    seed = model.make_seed(*grid)

    losses = model.loss(model(seed, 2), torch.zeros(1, 4, *grid))

    assert losses["seed"] == 0 and losses["total"] == losses["mse"]
    assert model.to_dict()["lambda_seed"] == 1.0


@pytest.mark.parametrize(
    "arguments", [{}, {"use_alive_mask": True, "goal_size": 3}], ids=["no mask", "a goal"]
)
def test_what_keeps_a_seed_alive_needs_cells_that_can_die(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="lambda_seed must be 0 for cells with a goal, or without"):
        grown(lambda_seed=1.0, **arguments)


def test_a_seed_grows_into_its_goal() -> None:
    model = grown(goal_size=2, num_goals=3)
    awaken(model, 1.0)
    seed = model.make_seed(5, 5)

    first, second = (
        model.grow(seed, 3, rollout_seed=1, goal=torch.tensor([goal])) for goal in (0, 2)
    )

    assert len(first) == 3 and not np.array_equal(first[-1], second[-1])
    want = model.predict(seed, 3, seed=1, goal=torch.tensor([2])).image_channels[0].clamp(0, 1)
    np.testing.assert_array_equal(second[-1], want.movedim(0, -1).numpy())
