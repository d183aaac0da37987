"""The kinds of models that users train, each in a typical size, and steps that train them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from eager import eager_rollout
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction, pad_input
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)

CPU = torch.device("cpu")
LIZARD = Path(__file__).parent.parent / "examples" / "growing_emoji" / "pretrained"
# So small that weights, and with them states, stay what they are while a step is repeated.
LEARNING_RATE = 1e-6


@dataclass(frozen=True)
class Example:
    """A model in a typical size.

    Attributes:
        name: What the tables call it.
        make: Creates the model.
        batch: Number of samples B.
        grid: Sizes of the grid.
        steps: Steps of a rollout.
        labels: "image", "class", "mask" or "depth".
        from_pool: Whether states are a seed and lizards of different ages, as in a pool.
        goals: Number of goals that samples have in turn; 0 for a model without.
    """

    name: str
    make: Callable[[], AbstractNCAModel]
    batch: int
    grid: tuple[int, ...]
    steps: int
    labels: str
    from_pool: bool = False
    goals: int = 0

    @property
    def shape(self) -> str:
        """Batch and grid, as a reader writes them."""
        return " x ".join(str(size) for size in (self.batch, *self.grid))

    def model(self) -> AbstractNCAModel:
        """Return the model; its rule does something, but little, so that states stay in range."""
        torch.manual_seed(0)
        model = self.make()
        if not self.from_pool:
            # Rules start from zero, where no gradient reaches the filters.
            for parameter in model.parameters():
                if not parameter.count_nonzero():
                    torch.nn.init.normal_(parameter, std=0.01)
        return model

    def images(self, model: AbstractNCAModel) -> Tensor:
        """Return what predictions start from: images, or states ``(B, C, W, H)`` of a pool."""
        torch.manual_seed(1)
        if not isinstance(model, GrowingNCAModel):
            return torch.rand(self.batch, model.num_image_channels, *self.grid)
        if not self.from_pool:
            return torch.rand(self.batch, model.num_channels, *self.grid)
        seed = model.make_seed(*self.grid)
        ages = (0, *(32 * (1 + n % 4) for n in range(self.batch - 1)))
        return torch.cat(
            [model.predict(seed, age, seed=age).output_image if age else seed for age in ages]
        )

    def goal(self) -> Tensor | None:
        """Return the goal of every sample, as an index; None for a model without."""
        return torch.arange(self.batch) % self.goals if self.goals else None

    def targets(self, model: AbstractNCAModel) -> Tensor:
        """Return labels of the shape that the model's loss takes."""
        torch.manual_seed(2)
        grid = (self.batch, *self.grid)
        if self.labels == "class":
            return torch.randint(0, 2, (self.batch,))
        if self.labels == "mask":
            return torch.randint(0, 2, grid)
        if self.labels == "depth":
            return torch.rand(grid)
        return torch.rand(self.batch, model.num_image_channels, *self.grid)


def _growing(**arguments: Any) -> Callable[[], AbstractNCAModel]:
    return lambda: GrowingNCAModel(CPU, num_hidden_channels=12, **arguments)


def _lizard() -> AbstractNCAModel:
    return GrowingNCAModel.from_pretrained(LIZARD)


def _classifier(**arguments: Any) -> Callable[[], AbstractNCAModel]:
    """Return a classifier of colour images whose cells all fire, with Sobel filters."""
    usual = {"num_classes": 8, "fire_rate": 1.0, "num_learned_filters": 0}
    sizes = {"num_image_channels": 3, "num_hidden_channels": 20}
    return lambda: ClassificationNCAModel(CPU, **{**sizes, **usual, **arguments})


def _segmentation(**arguments: Any) -> Callable[[], AbstractNCAModel]:
    """Return a model of 3 + 16 + 1 channels with learned filters, at a fire rate of 0.8."""
    return lambda: SegmentationNCAModel(CPU, **arguments)


def _cascade(wrapped: AbstractNCAModel, scales: list[int], steps: list[int]) -> AbstractNCAModel:
    return CascadeNCA(wrapped, scales, steps, single_model=False)


def digits_cascade() -> AbstractNCAModel:
    """Return the model of ``examples/selfclass_mnist``."""
    wrapped = ClassificationNCAModel(
        CPU, 1, 12, num_classes=10, pixel_wise_loss=True, hidden_size=80
    )
    return _cascade(wrapped, [4, 2, 1], [12, 6, 2])


def _depth(**arguments: Any) -> Callable[[], AbstractNCAModel]:
    usual = {"fire_rate": 1.0, "num_learned_filters": 0}
    return lambda: DepthNCAModel(CPU, **{**usual, **arguments})


_EVERYTHING = {
    "num_learned_filters": 2,
    "filter_padding": "circular",
    "use_temporal_encoding": True,
    "fire_rate": 0.8,
}
_SELF_CLASSIFIED = {"num_image_channels": 1, "num_hidden_channels": 16, "num_classes": 10}

EXAMPLES = [
    Example("growing from a pool", _lizard, 8, (40, 40), 64, "image", from_pool=True),
    Example("growing, half of the cells fire", _growing(), 8, (72, 72), 32, "image"),
    Example("classification", _classifier(), 64, (28, 28), 32, "class"),
    Example(
        "classification, learned filters, circular, time, fire rate .8",
        _classifier(**_EVERYTHING),
        64,
        (28, 28),
        32,
        "class",
    ),
    Example(
        "self-classification",
        _classifier(pixel_wise_loss=True, **_SELF_CLASSIFIED),
        32,
        (28, 28),
        32,
        "class",
    ),
    Example("digits, cascade", digits_cascade, 48, (28, 28), 20, "class"),
    Example(
        "segmentation, cascade",
        lambda: _cascade(_segmentation()(), [4, 2, 1], [10, 8, 8]),
        2,
        (256, 256),
        26,
        "mask",
    ),
    Example("segmentation", _segmentation(), 8, (96, 96), 20, "mask"),
    Example("segmentation, small", _segmentation(), 8, (16, 16), 20, "mask"),
    Example("depth", _depth(), 8, (32, 32), 32, "depth"),
    Example(
        "depth, learned filters, odd size", _depth(num_learned_filters=2), 8, (33, 33), 32, "depth"
    ),
    Example("hidden size 512", _classifier(hidden_size=512), 16, (28, 28), 32, "class"),
    Example(
        "filters of 7 x 7",
        _classifier(num_learned_filters=2, kernel_size=7),
        32,
        (28, 28),
        32,
        "class",
    ),
    Example(
        "filters of 5 x 5",
        _classifier(num_learned_filters=2, kernel_size=5),
        32,
        (28, 28),
        32,
        "class",
    ),
    Example(
        "wide: 29 channels, hidden size 256",
        _classifier(num_hidden_channels=26, hidden_size=256),
        8,
        (40, 40),
        32,
        "class",
    ),
    Example("8 x 8 grid", _growing(fire_rate=1.0), 8, (8, 8), 32, "image"),
    Example("one image of 256 x 256", _segmentation(), 1, (256, 256), 20, "mask"),
]


def predict(model: AbstractNCAModel, example: Example, *, eager: bool) -> Callable[[], object]:
    """Return a function that predicts once."""
    images, goal = example.images(model), example.goal()
    if not eager:
        return lambda: model.predict(images, example.steps, goal=goal)

    def run() -> Prediction:
        with torch.no_grad():
            return _eager_forward(model, images, example.steps, goal)

    return run


def train(model: AbstractNCAModel, example: Example, *, eager: bool) -> Callable[[], object]:
    """Return a function that takes one step of an optimiser."""
    images, targets, goal = example.images(model), example.targets(model), example.goal()
    optimizer = torch.optim.Adam(model.parameters(), LEARNING_RATE)

    def run() -> None:
        optimizer.zero_grad()
        if eager:
            prediction = _eager_forward(model, images, example.steps, goal)
        else:
            prediction = model(pad_input(images, model), example.steps, goal=goal)
        model.loss(prediction, targets)["total"].backward()
        optimizer.step()

    return run


def _eager_forward(
    model: AbstractNCAModel, images: Tensor, steps: int, goal: Tensor | None
) -> Prediction:
    state = eager_rollout(model, pad_input(images, model), steps, goal)
    return model.read_out(state, steps)


KINDS = {"predict": predict, "train": train}
