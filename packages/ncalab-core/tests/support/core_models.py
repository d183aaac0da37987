"""A small model of the standard kind."""

from collections.abc import Callable

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
