"""A model with any number of channels, for pictures."""

from typing import Any

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction


class PlainModel(AbstractNCAModel):
    """Adds the number of steps done to all channels of cells that fire."""

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Return the mean error."""
        return {"total": (pred.logits - label).mean()}


class FadingModel(PlainModel):
    """Raises every mutable channel by a tenth at each step."""

    def _update(self, x: Tensor, step: int) -> Tensor:
        return torch.full_like(x, 0.1)


def make_fading(image: int = 4, hidden: int = 3, output: int = 0, **arguments: Any) -> FadingModel:
    """Return a model whose image channels rise from 0 to 1 in ten steps."""
    defaults = {"fire_rate": 1.0, "immutable_image_channels": False, "inference_timesteps": 10}
    return FadingModel(torch.device("cpu"), image, hidden, output, **{**defaults, **arguments})
