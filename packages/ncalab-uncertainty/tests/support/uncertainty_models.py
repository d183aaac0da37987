"""Small models of every kind that uncertainty is measured on."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.testing import MeanHead, awaken

CPU = torch.device("cpu")


class ValueModel(AbstractNCAModel):
    """Predicts values: its output channels, or its image channels without those."""

    def __init__(self, device: torch.device = CPU, **arguments: Any) -> None:
        sizes = {"num_image_channels": 2, "num_hidden_channels": 3, "num_output_channels": 1}
        defaults: dict[str, Any] = {"hidden_size": 8, "inference_timesteps": 6}
        super().__init__(device, **{**sizes, **defaults, **arguments})
        # At zero, the rule's last layer would leave all cells as they are.
        awaken(self, 0.3)

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error."""
        return {"total": F.mse_loss(pred.logits, label)}


class ClassModel(ValueModel):
    """Predicts classes of cells; ``offset`` is added to all logits."""

    def __init__(self, num_classes: int = 1, offset: float = 0.0, **arguments: Any) -> None:
        super().__init__(num_output_channels=num_classes, **arguments)
        self.num_classes = num_classes
        self.offset = offset

    def post_prediction(self, prediction: Prediction) -> Prediction:
        """Add the offset."""
        p = prediction
        return Prediction(p.model, p.steps, p.output_image, p.logits + self.offset)

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return probabilities."""
        logits = prediction.logits
        return logits.sigmoid() if self.num_classes == 1 else logits.softmax(dim=1)


class HeadModel(ValueModel):
    """Predicts three values for a whole image."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(num_output_channels=0, **arguments)
        self.head = MeanHead()


def make(kind: str, **arguments: Any) -> ValueModel:
    """Return a model with the same weights every time."""
    torch.manual_seed(1)
    if kind == "values":
        return ValueModel(**arguments)
    if kind == "no output":
        colours = {"num_image_channels": 4, "immutable_image_channels": False}
        return ValueModel(num_output_channels=0, **{**colours, **arguments})
    if kind == "head":
        return HeadModel(**arguments)
    return ClassModel(1 if kind == "mask" else 4, **arguments)


KINDS = ["values", "no output", "head", "mask", "classes"]


def images(model: AbstractNCAModel, batch: int = 2, seed: int = 3) -> Tensor:
    """Return images of 7 x 5 pixels, range [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, model.num_image_channels, 7, 5, generator=generator)


def values_of(model: AbstractNCAModel, predictions: list[Prediction]) -> Tensor:
    """Return interpreted predictions as ``(N, B, K, W, H)``; W = H = 1 for whole images."""
    values = torch.stack([model.interpret(prediction) for prediction in predictions])
    return values if values.ndim == 5 else values[..., None, None]
