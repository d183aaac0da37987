"""Small models with any number of channels, for pictures."""

from typing import Any

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.multiscale import MultiScale
from ncalab.core.task import TaskSpec, register_task
from ncalab.core.testing import MeanHead


class PlainModel(AbstractNCAModel):
    """Adds the number of steps done to all channels of cells that fire."""

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Return the mean error."""
        return {"total": (pred.logits - label).mean()}


class ScalesModel(PlainModel):
    """Runs the automata of other models, one at each scale, as a cascade does."""

    parts: list[AbstractNCAModel]
    scales: list[int]
    steps: list[int]

    @property
    def runner(self) -> MultiScale:
        """Runner of the steps."""
        return MultiScale(self.parts, self.scales, self.steps, self.num_fixed_channels)


class VotingModel(PlainModel):
    """Classifies by the votes of its cells."""

    task = "classification"


class FadingModel(PlainModel):
    """Raises every mutable channel by a tenth at each step."""

    def _update(self, x: Tensor, step: int) -> Tensor:
        return torch.full_like(x, 0.1)


def make_fading(image: int = 4, hidden: int = 3, output: int = 0, **arguments: Any) -> FadingModel:
    """Return a model whose image channels rise from 0 to 1 in ten steps."""
    defaults = {"fire_rate": 1.0, "immutable_image_channels": False, "inference_timesteps": 10}
    return FadingModel(torch.device("cpu"), image, hidden, output, **{**defaults, **arguments})


class StillModel(PlainModel):
    """Leaves its state as it is, so that a test writes what is predicted into the state."""

    def _update(self, x: Tensor, step: int) -> Tensor:
        return torch.zeros_like(x)


class SegmentationModel(StillModel):
    """Segments by its output channels."""

    task = "segmentation"

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return probabilities, shape ``(B, K, W, H)``."""
        logits = prediction.logits
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


class MaskPrediction(Prediction):
    """A prediction with a mask, as those of the segmentation task."""

    @property
    def mask(self) -> Tensor:
        """Cells whose logit exceeds 1."""
        return self.logits[:, 0] > 1


class CellClassModel(StillModel):
    """Classifies by its living cells."""

    task = "classification"

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return probabilities, shape ``(B, K, W, H)``."""
        return prediction.logits.softmax(dim=1)


class HeadModel(StillModel):
    """Classifies by a head."""

    task = "classification"

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return probabilities, shape ``(B, K)``."""
        logits = prediction.logits
        return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)


class DepthModel(StillModel):
    """Estimates twice its output channel."""

    task = "depth"

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return depths, shape ``(B, 1, W, H)``."""
        return 2 * prediction.logits


# As the packages of these tasks describe them, which need not be installed here.
register_task(TaskSpec("segmentation", SegmentationModel, reading="classes"))
register_task(TaskSpec("classification", CellClassModel, reading="votes"))
register_task(TaskSpec("depth", DepthModel, reading="values"))


def make(
    kind: type[AbstractNCAModel], image: int, hidden: int, output: int, **arguments: Any
) -> AbstractNCAModel:
    """Return a model of a kind whose image channels do not change."""
    defaults = {"fire_rate": 1.0, "inference_timesteps": 3}
    return kind(torch.device("cpu"), image, hidden, output, **{**defaults, **arguments})


def make_head(image: int = 1, classes: int = 4, **arguments: Any) -> HeadModel:
    """Return a model that scores each class by the mean of a hidden channel."""
    model = HeadModel(torch.device("cpu"), image, classes, 0, inference_timesteps=3, **arguments)
    model.head = MeanHead(classes)
    return model


def state_of(model: AbstractNCAModel, images: Tensor, output: Tensor | None = None) -> Tensor:
    """Return states with given image and output channels; hidden channels are random."""
    batch, _, *grid = images.shape
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(batch, model.num_hidden_channels, *grid, generator=generator)
    if output is None:
        output = torch.randn(batch, model.num_output_channels, *grid, generator=generator)
    return torch.cat([images, hidden, output], dim=1)


def random_images(batch: int, channels: int, width: int = 7, height: int = 19) -> Tensor:
    """Return images in [0, 1], shape ``(batch, channels, width, height)``."""
    return torch.rand(
        batch, channels, width, height, generator=torch.Generator().manual_seed(batch)
    )
