"""A model and data small enough to train in a test."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanSquaredError, Metric

from ncalab.core import AbstractNCAModel, Prediction

# What two runs that are alike to the bit need not share.
TIMES = {"seconds", "created", "modified"}


class NegativeError(Metric):
    """A metric that is never positive, and better when it is higher."""

    higher_is_better = True
    worst: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("worst", torch.zeros(()), dist_reduce_fx="min")

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Take note of one batch."""
        self.worst = torch.minimum(self.worst, -(prediction - label).square().mean())

    def compute(self) -> Tensor:
        """Return the negative error of the worst batch."""
        return self.worst


class Undefined(Metric):
    """A metric that never has a value, like an area under a curve of one class."""

    higher_is_better = True

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Take no note of a batch."""

    def compute(self) -> Tensor:
        """Return NaN."""
        return torch.tensor(torch.nan)


class EchoModel(AbstractNCAModel):
    """Learns to repeat an image in its output channel."""

    task = "tiny"

    def __init__(self, device: torch.device | None = None, **arguments: Any) -> None:
        sizes = {"num_image_channels": 1, "num_hidden_channels": 2, "num_output_channels": 1}
        defaults = {"hidden_size": 8, "training_timesteps": (2, 4), "inference_timesteps": 3}
        super().__init__(device or torch.device("cpu"), **{**sizes, **defaults, **arguments})
        self.metrics["mse"] = MeanSquaredError()
        self.metrics["negative"] = NegativeError()

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error."""
        error = F.mse_loss(pred.logits, label)
        return {"total": error, "half": error / 2}


class UndefinedModel(EchoModel):
    """A model that is chosen by a metric without a value."""

    def __init__(self, device: torch.device | None = None, **arguments: Any) -> None:
        super().__init__(device, **{"validation_metric": "undefined", **arguments})
        self.metrics["undefined"] = Undefined()


def make_tiny(**arguments: Any) -> EchoModel:
    """Return a model with the same first weights every time."""
    torch.manual_seed(0)
    return EchoModel(**arguments)


def loader(count: int = 4, batch_size: int = 2, **arguments: Any) -> DataLoader[Any]:
    """Return pairs of one image twice, each ``(1, 5, 4)``."""
    images = torch.rand(count, 1, 5, 4, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(images, images), batch_size=batch_size, **arguments)


def weights(model: nn.Module) -> list[Tensor]:
    """Return copies of all parameters."""
    return [p.detach().clone() for p in model.parameters()]


def equal(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    """Return whether two lists of tensors are equal to the bit."""
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def same(first: Any, second: Any, place: str = "") -> None:
    """Raise unless nested data is equal to the bit, times apart."""
    assert type(first) is type(second), place
    if isinstance(first, dict):
        assert first.keys() == second.keys(), place
        for key in first.keys() - TIMES:
            same(first[key], second[key], f"{place}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), place
        for i, (one, other) in enumerate(zip(first, second, strict=True)):
            same(one, other, f"{place}/{i}")
    elif isinstance(first, Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second), place
    else:
        assert first == second or (first != first and second != second), place
