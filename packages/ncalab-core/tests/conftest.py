"""A small model of the standard kind, with a rule that does something."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core import AbstractNCAModel, MLPNCARule, Prediction


class TinyModel(AbstractNCAModel):
    """A model with the plainest loss; saved and rebuilt like any other."""

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        return {"total": F.mse_loss(pred.logits, label)}


MakeModel = Callable[..., TinyModel]


def awaken(model: AbstractNCAModel, scale: float = 0.1) -> None:
    """Give the rule's last layer weights: at zero, a model does nothing worth testing."""
    if isinstance(model.rule, MLPNCARule):
        torch.nn.init.normal_(model.rule.last_layer.weight, std=scale)


@pytest.fixture
def make_model() -> MakeModel:
    """Return a factory of awake models; its arguments replace the defaults here."""

    def make(*, awake: bool = True, **arguments: Any) -> TinyModel:
        torch.manual_seed(1)
        defaults: dict[str, Any] = {
            "device": torch.device("cpu"),
            "num_image_channels": 4,
            "num_hidden_channels": 3,
            "num_output_channels": 2,
            "hidden_size": 16,
        }
        model = TinyModel(**{**defaults, **arguments})
        if awake:
            awaken(model)
        return model

    return make


@pytest.fixture
def image() -> Tensor:
    """Two images, shape ``(2, 4, 6, 9)``, range [0, 1]."""
    return torch.rand(2, 4, 6, 9, generator=torch.Generator().manual_seed(3))
