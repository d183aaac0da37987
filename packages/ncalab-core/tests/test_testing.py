"""A model of one's own is checked as its users will use it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ncalab.core import AbstractNCAModel, GatedNCARule, Prediction
from ncalab.core.testing import MeanHead, TinyModel, awaken, check_model

CPU = torch.device("cpu")
IMAGE, LABEL = torch.rand(2, 3, 6, 5), torch.rand(2, 1, 6, 5)


class HeadedModel(TinyModel):
    """Predicts the means of hidden channels."""

    def __init__(self, device: torch.device, **arguments: Any) -> None:
        super().__init__(device, **arguments)
        self.head = MeanHead(2)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"num_learned_filters": 2, "pad_noise": True},
        {"rule_type": GatedNCARule, "use_temporal_encoding": True},
    ],
)
def test_a_sound_model_passes_and_is_not_changed(arguments: dict[str, Any]) -> None:
    model = TinyModel(CPU, 3, 4, 1, hidden_size=8, **arguments)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()

    check_model(model, IMAGE, LABEL)

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training


def test_a_model_with_a_head_passes() -> None:
    model = HeadedModel(
        CPU, num_image_channels=3, num_hidden_channels=4, num_output_channels=0, hidden_size=8
    )

    check_model(model, IMAGE, torch.rand(2, 2))


class Unnamed(TinyModel):
    """Forgets the total."""

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        return {"error": pred.logits.mean()}


class Vector(TinyModel):
    """Does not reduce its loss."""

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        return {"total": pred.logits.mean(dim=(1, 2, 3))}


class Unused(TinyModel):
    """Has a parameter without an effect."""

    def __init__(self, *sizes: Any, **arguments: Any) -> None:
        super().__init__(*sizes, **arguments)
        self.spare = nn.Parameter(torch.zeros(1))


class Forgetful(TinyModel):
    """Changes its argument."""

    def prepare_input(self, x: Tensor) -> Tensor:
        return x.mul_(0.5)


class Mixing(TinyModel):
    """Lets samples see each other."""

    def _update(self, x: Tensor, step: int) -> Tensor:
        return super()._update(x, step) + 0.1 * x.mean()


class Random(TinyModel):
    """Draws numbers that no seed decides."""

    def post_prediction(self, prediction: Prediction) -> Prediction:
        prediction.logits = prediction.logits + torch.rand(())
        return prediction


class Unmeasured(TinyModel):
    """Names a metric that it does not have."""

    def __init__(self, *sizes: Any, **arguments: Any) -> None:
        super().__init__(*sizes, **{"validation_metric": "dice", **arguments})


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (Unnamed, "have a loss named 'total', got \\['error'\\]"),
        (Vector, r"have scalar losses, got shape \(2,\) for total"),
        (Unused, "use its parameter spare, which has no gradient"),
        (Forgetful, "leave the images as they are"),
        (Mixing, "predict sample 0 alone as within a batch"),
        (Random, "predict the same from the same seed"),
        (Unmeasured, "compute its validation_metric dice"),
    ],
)
def test_a_fault_is_named(kind: type[AbstractNCAModel], message: str) -> None:
    with pytest.raises(AssertionError, match=f"the model must {message}"):
        check_model(kind(CPU, 3, 4, 1, hidden_size=8), IMAGE.clone(), LABEL)


def test_awaken_gives_any_rule_an_effect() -> None:
    model = TinyModel(CPU, 3, 4, 1, hidden_size=8, rule_type=GatedNCARule)
    awaken(model)

    assert not torch.equal(model.predict(IMAGE, 2, seed=0).logits, torch.zeros(2, 1, 6, 5))


@pytest.mark.parametrize("num_goals", [None, 3])
def test_a_model_with_a_goal_is_checked_with_goals(num_goals: int | None) -> None:
    model = TinyModel(CPU, 3, 4, 1, hidden_size=8, goal_size=2, num_goals=num_goals)
    goal = torch.rand(2, 2) if num_goals is None else torch.tensor([2, 0])

    check_model(model, IMAGE, LABEL, goal=goal)
