"""Metrics of depth maps, added up over a data set; cells without a valid depth are left out.

Importing this module imports torchmetrics, and with it matplotlib where that is installed.
"""

import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from ncalab.tasks.depth.ssim import label_range, masked_ssim
from ncalab.tasks.depth.valid import valid_depth


def _exact(depth: Tensor) -> Tensor:
    """Return the values in the widest type of their device: sums over a data set are long."""
    return depth.to(torch.float32 if depth.device.type == "mps" else torch.float64)


class DepthMetric(Metric, ABC):
    """The mean of something over a data set, streamed.

    ``update(preds, target)`` takes predicted and true depth of the same shape ``(B, 1, W, H)``;
    a true depth that is not finite and above 0 is unknown. ``compute()`` returns NaN if nothing
    was known.
    """

    full_state_update = False
    is_differentiable = False
    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(()), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        Raises:
            ValueError: If the shapes are not the same ``(B, 1, W, H)``.
        """
        if preds.shape != target.shape or preds.ndim != 4 or preds.shape[1] != 1:
            raise ValueError(
                "preds and target must have the same shape (B, 1, W, H), "
                f"got {tuple(preds.shape)} and {tuple(target.shape)}"
            )
        valid = valid_depth(target)
        total, count = self._measure(_exact(preds), _exact(target), valid)
        # Not in place: the sum takes on the wider type.
        self.total = self.total + total
        self.count = self.count + count

    @abstractmethod
    def _measure(self, preds: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum over a batch and how many things were added."""

    def compute(self) -> Tensor:
        """Return the mean, a scalar."""
        return self.total / self.count


class _CellMetric(DepthMetric):
    """A mean over all valid cells of all images."""

    def _measure(self, preds: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        values = self._values(preds, torch.where(valid, target, 1))
        return torch.where(valid, values, 0).sum(), valid.sum()

    @abstractmethod
    def _values(self, preds: Tensor, target: Tensor) -> Tensor:
        """Return the value of each cell, whose depth is above 0."""


class MeanAbsoluteError(_CellMetric):
    """Mean of ``|d - d*|`` over all valid cells, in the unit of depth.

    >>> metric = MeanAbsoluteError()
    >>> metric.update(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[3.0, 0.0]]]]))
    >>> metric.compute().item()
    2.0
    """

    higher_is_better = False

    def _values(self, preds: Tensor, target: Tensor) -> Tensor:
        return (preds - target).abs()


class RootMeanSquaredError(_CellMetric):
    """Square root of the mean of ``(d - d*)^2`` over all valid cells, in the unit of depth.

    >>> metric = RootMeanSquaredError()
    >>> metric.update(torch.tensor([[[[1.0, 2.0]]]]), torch.tensor([[[[2.0, 9.0]]]]))
    >>> metric.compute().item()
    5.0
    """

    higher_is_better = False

    def _values(self, preds: Tensor, target: Tensor) -> Tensor:
        return (preds - target).square()

    def compute(self) -> Tensor:
        """Return the root of the mean, a scalar."""
        return super().compute().sqrt()


class AbsoluteRelativeError(_CellMetric):
    """Mean of ``|d - d*| / d*`` over all valid cells.

    Source: Eigen et al., Depth Map Prediction from a Single Image using a Multi-Scale Deep
    Network, NeurIPS 2014, arXiv:1406.2283, section 4.3.

    >>> metric = AbsoluteRelativeError()
    >>> metric.update(torch.tensor([[[[3.0]]]]), torch.tensor([[[[2.0]]]]))
    >>> metric.compute().item()
    0.5
    """

    higher_is_better = False

    def _values(self, preds: Tensor, target: Tensor) -> Tensor:
        return (preds - target).abs() / target


class ThresholdAccuracy(_CellMetric):
    """Share of the valid cells with ``max(d / d*, d* / d) < threshold``.

    A predicted depth of 0 or less is never within the threshold.

    Source: Eigen et al. 2014, as for :class:`AbsoluteRelativeError`.

    Args:
        threshold: Largest ratio, above 1.
        **kwargs: Further arguments of torchmetrics' ``Metric``.

    Raises:
        ValueError: If the threshold is not above 1.

    >>> metric = ThresholdAccuracy()
    >>> metric.update(torch.tensor([[[[2.4, 2.6]]]]), torch.tensor([[[[2.0, 2.0]]]]))
    >>> metric.compute().item()
    0.5
    """

    higher_is_better = True

    def __init__(self, threshold: float = 1.25, **kwargs: Any) -> None:
        if not threshold > 1:
            raise ValueError(f"threshold must be above 1, got {threshold}")
        super().__init__(**kwargs)
        self.threshold = threshold

    def _values(self, preds: Tensor, target: Tensor) -> Tensor:
        # Ratios, as everyone computes them: a product rounds differently at the threshold.
        near = torch.maximum(preds / target, target / preds) < self.threshold
        return (near & (preds > 0)).to(preds.dtype)


class StructuralSimilarity(DepthMetric):
    """Mean over all images of :func:`ncalab.tasks.depth.ssim.masked_ssim`.

    An image without a valid cell does not count.

    Args:
        data_range: Dynamic range of depth, above 0; the largest valid depth of each label if None.
        **kwargs: Further arguments of torchmetrics' ``Metric``.

    Raises:
        ValueError: If the range is not above 0 and finite.

    >>> metric = StructuralSimilarity()
    >>> depth = torch.rand(2, 1, 16, 12) + 1
    >>> metric.update(depth, depth)
    >>> metric.compute().item()
    1.0
    """

    higher_is_better = True

    def __init__(self, data_range: float | None = None, **kwargs: Any) -> None:
        if data_range is not None and not 0 < data_range < math.inf:
            raise ValueError(f"data_range must be above 0 and finite, got {data_range}")
        super().__init__(**kwargs)
        self.data_range = data_range

    def _measure(self, preds: Tensor, target: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        ranges = label_range(target, valid)
        if self.data_range is not None:
            ranges = torch.full_like(ranges, self.data_range)
        values = masked_ssim(preds, target, valid, ranges)
        return values.sum(), valid.flatten(1).any(dim=1).sum()


def depth_metrics(data_range: float | None = None) -> dict[str, Metric]:
    """Return the metrics of a depth model by name.

    Args:
        data_range: Dynamic range of depth for SSIM; see :class:`StructuralSimilarity`.

    >>> list(depth_metrics())
    ['ssim', 'mae', 'rmse', 'abs_rel', 'delta1']
    """
    return {
        "ssim": StructuralSimilarity(data_range),
        "mae": MeanAbsoluteError(),
        "rmse": RootMeanSquaredError(),
        "abs_rel": AbsoluteRelativeError(),
        "delta1": ThresholdAccuracy(1.25),
    }
