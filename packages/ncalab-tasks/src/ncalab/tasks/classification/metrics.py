"""Metrics of classification, in memory that does not depend on the size of the data set."""

from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from ncalab.tasks.classification.auroc import MacroAUROC
from ncalab.tasks.classification.votes import agreement


class TotalAgreement(Metric):
    """Share of samples of which all living cells vote for the same class, right or wrong.

    Source: Randazzo et al., Self-classifying MNIST Digits, Distill 2020,
    doi:10.23915/distill.00027.002.

    >>> metric = TotalAgreement()
    >>> metric.update(torch.tensor([[9, 0], [8, 1]]), torch.tensor([0, 0]))
    >>> metric.compute().item()
    0.5
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    agreeing: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("agreeing", torch.tensor(0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def update(self, votes: Tensor, _label: Tensor) -> None:
        """Count the samples in total agreement.

        Args:
            votes: Number of cells that vote for each class, shape ``(B, K)``.
        """
        self.agreeing += agreement(votes).sum()
        self.total += len(votes)

    def compute(self) -> Tensor:
        """Return the share."""
        return self.agreeing / self.total


def make_metrics(num_classes: int, *, pixel_wise: bool) -> nn.ModuleDict:
    """Create the metrics of a model by name.

    Args:
        num_classes: Number of classes K.
        pixel_wise: Whether cells vote.
    """
    # Without torchmetrics' checks: labels have been checked, and those wait for the device.
    macro: dict[str, Any] = {"average": "macro", "validate_args": False}
    metrics: dict[str, nn.Module] = {
        "accuracy_macro": MulticlassAccuracy(num_classes, **macro),
        "accuracy_micro": MulticlassAccuracy(num_classes, **{**macro, "average": "micro"}),
        "f1": MulticlassF1Score(num_classes, **macro),
        "auroc": MacroAUROC(num_classes),
    }
    if pixel_wise:
        metrics["total_agreement"] = TotalAgreement()
    return nn.ModuleDict(metrics)
