"""Small models of every kind, for cascades: with and without output channels, and with a head."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics import MeanSquaredError

from ncalab.core import AbstractNCAHead, AbstractNCAModel, Prediction
from ncalab.core.testing import awaken
from ncalab.tasks import CascadeNCA, GrowingNCAModel

CPU = torch.device("cpu")


class ScoreModel(AbstractNCAModel):
    """Scores every cell in its output channels."""

    task = "scores"

    def __init__(self, device: torch.device, **arguments: Any) -> None:
        sizes = {"num_image_channels": 2, "num_hidden_channels": 3, "num_output_channels": 2}
        defaults: dict[str, Any] = {"hidden_size": 8, "validation_metric": "mse"}
        super().__init__(device, **{**sizes, **defaults, **arguments})
        self.metrics["mse"] = MeanSquaredError()

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error."""
        error = F.mse_loss(pred.logits, label)
        return {"total": error, "half": error / 2}

    def classify(self, image: Tensor, steps: Any = None, *, seed: int | None = None) -> Tensor:
        """Return the class of each cell."""
        return self.predict(image, steps, seed=seed).logits.argmax(dim=1)


class StrictModel(ScoreModel):
    """Extends a method of its base class with super()."""

    def classify(self, image: Tensor, steps: Any = None, *, seed: int | None = None) -> Tensor:
        """Return the class of each cell, counted from 1."""
        return super().classify(image, steps, seed=seed) + 1


class LinearHead(AbstractNCAHead):
    """One score of each image: a weighted mean of the hidden channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return scores ``(B, 1)``."""
        scores: Tensor = self.linear(x.mean(dim=(2, 3)))
        return scores

    def freeze(self, freeze_last: bool = True) -> None:
        """Exclude the head from training."""
        self.requires_grad_(not freeze_last)


class HeadModel(ScoreModel):
    """Scores whole images with a head."""

    def __init__(self, device: torch.device, **arguments: Any) -> None:
        super().__init__(device, **{"num_output_channels": 0, **arguments})
        self.head = LinearHead(self.num_hidden_channels).to(device)


class ProbeModel(ScoreModel):
    """Takes note of every state that it perceives, and adds 1 to the channels that it may."""

    def __init__(self, device: torch.device, **arguments: Any) -> None:
        super().__init__(device, **{"fire_rate": 1.0, **arguments})
        self.seen: list[tuple[int, Tensor]] = []
        self.prepared = 0

    def _update(self, x: Tensor, step: int) -> Tensor:
        self.seen.append((step, x.detach().clone()))
        return torch.ones_like(x)

    def prepare_input(self, x: Tensor) -> Tensor:
        """Count the calls."""
        self.prepared += 1
        return x


KINDS: dict[str, type[AbstractNCAModel]] = {
    "scores": ScoreModel,
    "head": HeadModel,
    "growing": GrowingNCAModel,
}


def make(kind: str = "scores", *, awake: bool = True, **arguments: Any) -> AbstractNCAModel:
    """Return a model of a kind, the same every time."""
    torch.manual_seed(1)
    if kind == "growing":
        arguments = {"num_image_channels": 2, "num_hidden_channels": 3, **arguments}
    build: Any = KINDS[kind]
    model: AbstractNCAModel = build(CPU, **{"hidden_size": 8, **arguments})
    if awake:
        awaken(model, 0.2)
    return model


def cascade_of(
    model: AbstractNCAModel | str = "scores", *, separate: bool = False, **arguments: Any
) -> CascadeNCA:
    """Return a cascade with scales 4, 2 and 1; separate weights, as asked, differ."""
    wrapped = make(model) if isinstance(model, str) else model
    defaults: dict[str, Any] = {"scales": [4, 2, 1], "steps": [4, 3, 2]}
    cascade = CascadeNCA(wrapped, **{**defaults, **arguments, "single_model": not separate})
    torch.manual_seed(2)
    for copy in cascade.copies:
        for parameter in copy.parameters():
            nn.init.normal_(parameter, std=0.2)
    return cascade


def images(*size: int, batch: int = 2) -> Tensor:
    """Return images of two channels, range [0, 1]."""
    return torch.rand(batch, 2, *size, generator=torch.Generator().manual_seed(3))
