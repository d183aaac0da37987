"""Small models for tests."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ncalab.core.automaton import Automaton
from ncalab.core.head import AbstractNCAHead
from ncalab.core.model import AbstractNCAModel
from ncalab.core.prediction import Prediction
from ncalab.core.rule import MLPNCARule


class TinyModel(AbstractNCAModel):
    """A model without a task: its loss is the mean squared error of the logits.

    It takes the arguments of :class:`ncalab.core.AbstractNCAModel`.
    """

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error of the logits as "total"."""
        return {"total": F.mse_loss(pred.logits, label)}


class MeanHead(AbstractNCAHead):
    """Predict the means of hidden channels, times one trainable number that starts at 1.

    Args:
        values: How many hidden channels, the first ones, to take; None for all.

    >>> MeanHead(2)(torch.ones(1, 5, 4, 4)).tolist()
    [[1.0, 1.0]]
    """

    def __init__(self, values: int | None = None) -> None:
        super().__init__()
        self.values = values
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        """Return means, shape ``(B, values)``."""
        return x[:, : self.values].mean(dim=tuple(range(2, x.ndim))) * self.scale

    def freeze(self, freeze_last: bool = True) -> None:  # noqa: ARG002 - there is one layer
        """Exclude the scale from training."""
        self.requires_grad_(False)


def awaken(automaton: Automaton, scale: float = 0.1) -> None:
    """Give the rule weights with an effect: an untrained rule changes no cell.

    Args:
        automaton: Automaton or model; changed in place.
        scale: Standard deviation of the last layer's weights, or of what is added to every
            parameter of a rule that is not an :class:`ncalab.core.MLPNCARule`.

    >>> model = TinyModel(torch.device("cpu"), 1, 2, 1)
    >>> awaken(model)
    >>> bool(model.rule.last_layer.weight.count_nonzero())
    True
    """
    rule = automaton.rule
    with torch.no_grad():
        if isinstance(rule, MLPNCARule):
            nn.init.normal_(rule.last_layer.weight, std=scale)
            return
        for parameter in rule.parameters():
            parameter.add_(scale * torch.randn_like(parameter))
