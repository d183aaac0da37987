"""Tasks on grids of one and three axes."""

from typing import Any

import pytest
import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, export_program
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"num_hidden_channels": 4, "hidden_size": 8}
GRIDS = {1: (9,), 3: (4, 5, 3)}


def assert_trains(model: AbstractNCAModel, image: Tensor, label: Tensor) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    loss = model.loss(model(model.start_state(image), 4, seed=1), label)["total"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    values, _ = model.validate([(image, label)], 4)  # type: ignore[arg-type]  # as a loader yields
    assert values
    twin = type(model).from_dict(model.to_dict())
    twin.load_state_dict(model.state_dict())
    want = model.predict(image, 4, seed=3)
    assert torch.equal(twin.predict(image, 4, seed=3).logits, want.logits)


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("classes", [1, 3])
def test_segmentation(dims: int, classes: int) -> None:
    model = SegmentationNCAModel(
        CPU, num_image_channels=1, num_classes=classes, spatial_dims=dims, **SMALL
    )
    grid = GRIDS[dims]

    assert_trains(model, torch.rand(2, 1, *grid), torch.randint(0, max(classes, 2), (2, *grid)))

    assert model.predict(torch.rand(2, 1, *grid), 2).mask.shape == (2, *grid)  # type: ignore[attr-defined]  # a segmentation's own attribute


@pytest.mark.parametrize("dims", [1, 3])
@pytest.mark.parametrize("head", [False, True])
def test_classification(dims: int, head: bool) -> None:
    model = ClassificationNCAModel(
        CPU, 1, num_classes=3, use_classifier=head, avg_pool_size=2, spatial_dims=dims, **SMALL
    )

    assert_trains(model, torch.rand(2, 1, *GRIDS[dims]), torch.tensor([0, 2]))


def test_growing_a_volume() -> None:
    model = GrowingNCAModel(CPU, spatial_dims=3, use_alive_mask=True, **SMALL)
    seed = model.make_seed(5, 4, 3)

    assert seed.shape == (1, 8, 5, 4, 3) and seed[0, 3].sum() == seed[0, 3, 2, 2, 1] == 1
    assert_trains(model, seed, torch.rand(1, 4, 5, 4, 3))
    assert model.grow(seed, 2)[-1].shape == (5, 4, 3, 4)
    with pytest.raises(ValueError, match="make_seed must be given the sizes of 3 axes"):
        model.make_seed(5, 4)


@pytest.mark.parametrize("dims", [1, 3])
def test_a_cascade(dims: int) -> None:
    model = SegmentationNCAModel(
        CPU, num_image_channels=1, num_classes=1, spatial_dims=dims, **SMALL
    )
    cascade = CascadeNCA(model, [3, 1], [2, 2])
    grid = GRIDS[dims]

    assert_trains(cascade, torch.rand(2, 1, *grid), torch.randint(0, 2, (2, *grid)))


def test_a_cascade_has_a_goal_at_every_scale() -> None:
    model = SegmentationNCAModel(
        CPU, num_image_channels=1, num_classes=1, goal_size=2, num_goals=3, **SMALL
    )
    torch.nn.init.normal_(model.rule.get_parameter("network.2.weight"), std=0.1)
    cascade = CascadeNCA(model, [2, 1], [2, 2], single_model=False)
    x, goal = torch.rand(2, 1, 8, 6), torch.tensor([2, 0])

    want = cascade.predict(x, seed=1, goal=goal)

    torch.testing.assert_close(cascade.predict(x, seed=1, goal=goal, tile=8).logits, want.logits)
    with pytest.raises(TypeError, match="goal must be a tensor for this model"):
        cascade.predict(x, seed=1)


@pytest.mark.parametrize("single_model", [True, False])
def test_an_exported_cascade_gives_every_scale_its_goal(single_model: bool) -> None:
    model = SegmentationNCAModel(
        CPU, num_image_channels=1, num_classes=1, goal_size=2, num_goals=3, **SMALL
    )
    torch.nn.init.normal_(model.rule.get_parameter("network.2.weight"), std=0.1)
    cascade = CascadeNCA(model, [2, 1], [2, 2], single_model=single_model)
    if not single_model:
        # As after a training: the scales name the goals by vectors of their own.
        torch.nn.init.normal_(cascade.models[0].get_parameter("goal_embedding.weight"), std=3.0)
    x, goal = torch.rand(2, 1, 16, 18), torch.tensor([2, 0])

    program = export_program(cascade).module()

    got = program(image=x, steps=torch.tensor(4), seed=torch.tensor(7), goal=goal)
    want = cascade.predict(x, 4, seed=7, goal=goal)
    torch.testing.assert_close(got["logits"], want.logits, atol=1e-5, rtol=0)


def test_depth_is_that_of_a_picture() -> None:
    with pytest.raises(ValueError, match="spatial_dims must be 2 for a depth map, got 3"):
        DepthNCAModel(CPU, spatial_dims=3)
