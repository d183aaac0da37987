"""Every task's model, and a cascade of each, gives the same when torch compiles it."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, pad_input
from ncalab.core.testing import awaken
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)

# Of what torch's compiler itself does with torch.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {"num_hidden_channels": 4, "hidden_size": 8}
MODELS: dict[str, Any] = {
    "segmentation": lambda: SegmentationNCAModel(CPU, num_image_channels=1, **SMALL),
    "classification": lambda: ClassificationNCAModel(CPU, 1, num_classes=3, **SMALL),
    "pixels": lambda: ClassificationNCAModel(
        CPU, 1, num_classes=3, use_classifier=False, pixel_wise_loss=True, **SMALL
    ),
    "depth": lambda: DepthNCAModel(CPU, num_image_channels=1, **SMALL),
    "growing": lambda: GrowingNCAModel(CPU, **SMALL),
}


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    """Forget what was compiled."""
    yield
    torch.compiler.reset()


def label_of(kind: str, model: AbstractNCAModel, x: Tensor) -> Tensor:
    labels = {
        "classification": torch.tensor([0, 2]),
        "pixels": torch.tensor([0, 2]),
        "growing": x[:, :4].detach(),
        "depth": torch.rand(2, 9, 8),
        "segmentation": torch.randint(0, 2, (2, 9, 8)),
    }
    return labels[kind]


@pytest.mark.parametrize("cascade", [False, True])
@pytest.mark.parametrize("kind", MODELS)
def test_a_compiled_model_trains_and_predicts_the_same(kind: str, cascade: bool) -> None:
    torch.manual_seed(0)
    model: AbstractNCAModel = MODELS[kind]()
    awaken(model, 0.1)
    if cascade:
        model = CascadeNCA(model, [2, 1], [2, 2])
    image = torch.rand(2, model.num_image_channels, 9, 8)
    x = pad_input(image, model, noise=False)
    label = label_of(kind, model, x)
    compiled: Any = torch.compile(model, backend="eager")
    slopes = []

    for run in (compiled, model):
        model.zero_grad()
        model.loss(run(x, 4, seed=1), label)["total"].backward()
        slopes.append([p.grad for p in model.parameters() if p.grad is not None])

    assert len(slopes[0]) == len(slopes[1]) > 0
    torch.testing.assert_close(slopes[0], slopes[1])
    got, want = (run.predict(image, 4, seed=1) for run in (compiled, model))
    assert torch.equal(got.logits, want.logits)
