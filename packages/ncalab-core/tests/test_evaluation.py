"""Predictions and validations that run at the same time."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanSquaredError

from ncalab.core import AbstractNCAHead
from ncalab.core.evaluation import evaluating

THREADS = 8


class NoisyHead(AbstractNCAHead):
    """A head that does another thing in training, and has a layer that is never trained."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(3), nn.Dropout(0.5)
        self.frozen = nn.BatchNorm2d(3).eval()

    def forward(self, x: Tensor) -> Tensor:
        seen: Tensor = self.drop(self.frozen(self.norm(x))).mean(dim=(2, 3))
        return seen

    def freeze(self, freeze_last: bool = True) -> None:
        self.requires_grad_(False)


@pytest.fixture
def model(make_model: MakeModel) -> TinyModel:
    """A model in training, but for one layer of its head."""
    noisy = make_model()
    noisy.head = NoisyHead()
    return noisy


def modes(model: nn.Module) -> dict[str, bool]:
    return {name: module.training for name, module in model.named_modules()}


def at_once(function: Callable[[int], Any], count: int) -> list[Any]:
    """Call a function in several threads that begin together."""
    start = threading.Barrier(THREADS)

    def call(place: int) -> Any:
        start.wait()
        return [function(place) for _ in range(count)]

    with ThreadPoolExecutor(THREADS) as pool:
        return [result for results in pool.map(call, range(THREADS)) for result in results]


def test_predictions_at_once_are_those_of_evaluation_and_keep_the_mode(
    model: TinyModel, image: Tensor
) -> None:
    before, statistics = modes(model), model.state_dict()["head.norm.running_mean"].clone()
    want = model.predict(image, 3, seed=1).logits

    got = at_once(lambda _: model.predict(image, 3, seed=1).logits, count=20)

    assert all(torch.equal(logits, want) for logits in got)
    assert modes(model) == before
    assert not before["head.frozen"]
    assert before["head.norm"]
    assert torch.equal(model.state_dict()["head.norm.running_mean"], statistics)


def test_records_and_validations_at_once_keep_the_mode(model: TinyModel, image: Tensor) -> None:
    model.metrics["mse"] = MeanSquaredError()
    before = modes(model)
    loader: DataLoader[Any] = DataLoader(TensorDataset(image, torch.rand(2, 3)))
    want = model.validate(loader, 2, seeds=[3, 4])[0]
    last = model.record(image, 2, seed=1)[-1].logits

    def use(place: int) -> bool:
        if place % 2:
            return torch.equal(model.record(image, 2, seed=1)[-1].logits, last)
        return model.validate(loader, 2, seeds=[3, 4])[0] == want

    assert all(at_once(use, count=5))
    assert modes(model) == before


def test_a_part_that_is_used_by_another_prediction_stays_in_evaluation() -> None:
    part = nn.Dropout()
    whole = nn.Sequential(part, nn.Dropout())

    with evaluating(part):
        with evaluating(whole):
            assert not any(modes(whole).values())
        assert modes(whole) == {"": True, "0": False, "1": True}

    assert all(modes(whole).values())


def test_a_training_that_begins_during_predictions_stays_one() -> None:
    model = nn.Sequential(nn.Dropout(), nn.Dropout()).eval()

    with evaluating(model):
        model.train()
        with evaluating(model):
            assert not any(modes(model).values())
        assert not any(modes(model).values())

    assert all(modes(model).values())
    model.eval()
    with evaluating(model):
        model[1].train()
    assert modes(model) == {"": False, "0": False, "1": True}


def test_a_prediction_that_fails_keeps_the_mode(model: TinyModel) -> None:
    before = modes(model)

    with pytest.raises(ValueError, match="image must|x must"):
        model.predict(torch.rand(1, 2, 3, 3), 1)

    assert modes(model) == before


class MergingLayer(nn.Linear):
    """A layer that changes its weights when it is told the mode, as some adapters do."""

    merged = False

    def train(self, mode: bool = True) -> "MergingLayer":
        self.merged = not mode
        super().train(mode)
        return self


def test_modules_are_told_of_both_changes() -> None:
    model = nn.Sequential(MergingLayer(2, 2))
    layer: Any = model[0]

    with evaluating(model):
        assert layer.merged

    assert not layer.merged
    assert layer.training
