"""Spread of several predictions of the same image, gathered one prediction at a time."""

from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.argument_types import check_types
from ncalab.core.checks import check_type
from ncalab.uncertainty.entropy import predictive_entropy


@dataclass(frozen=True)
class Spread:
    """Mean and spread of several predictions of the same images.

    Attributes:
        mean: Mean of the interpreted predictions, shape ``(B, K, *grid)``; ``(B, K, 1, 1)`` where
            a model predicts for whole images. In the unit of ``model.interpret``.
        deviation: Standard deviation (divided by N), same shape and unit; 0 for N = 1.
        magnitude: Mean of the absolute values, same shape and unit.
        entropy: Entropy of the mean, shape ``(B, 1, *grid)``, in nats; None without classes.
        mutual_information: That entropy less the mean entropy of single predictions, same shape and
            unit; None without classes.
        predictions: The predictions in the order in which they were made; only the last one if
            they are not kept.
    """

    mean: Tensor
    deviation: Tensor
    magnitude: Tensor
    entropy: Tensor | None
    mutual_information: Tensor | None
    predictions: list[Prediction]

    def __post_init__(self) -> None:
        for name in ("mean", "deviation", "magnitude"):
            check_type(name, getattr(self, name), Tensor)
        for name in ("entropy", "mutual_information"):
            check_type(name, getattr(self, name), Tensor, optional=True)
        check_types("predictions", self.predictions, Prediction)

    @property
    def relative(self) -> Tensor:
        """Deviation over the sum of the magnitude of all cells, same shape: its sum is the NQM."""
        cells = tuple(range(2, self.magnitude.ndim))
        return _ratio(self.deviation, self.magnitude.sum(dim=cells, keepdim=True))

    @property
    def nqm(self) -> Tensor:
        """Return :func:`nqm_score`, shape ``(B, K)``."""
        return nqm_score(self.deviation, self.magnitude)

    def about(self, reference: Tensor) -> Self:
        """Return the same spread with the deviation from ``reference`` in place of the mean."""
        bias = self.mean - reference
        return replace(self, deviation=torch.hypot(self.deviation, bias))


def _ratio(x: Tensor, total: Tensor) -> Tensor:
    """Divide; nothing spreads where the total is zero, so that is 0."""
    return torch.where(total > 0, x / torch.where(total > 0, total, 1), 0)


def nqm_score(deviation: Tensor, mean: Tensor) -> Tensor:
    """Return the sum of the standard deviation over the sum of the mean.

    Unlike the mean of the deviation, it does not get smaller with more background around the same
    object.

    Source: Kalkhof and Mukhopadhyay, M3D-NCA: Robust 3D Segmentation with Built-in Quality
    Control, MICCAI 2023, arXiv:2309.02954, section "Inherent Quality Control".

    Args:
        deviation: Standard deviation of several predictions, shape ``(B, K, *grid)``.
        mean: Their mean, same shape; not negative.

    Returns:
        Score, shape ``(B, K)``; 0 where the mean is 0 everywhere.

    Raises:
        ValueError: If the shapes differ, or have fewer than three axes.

    >>> deviation = torch.tensor([[[[0.0, 0.2]]]])
    >>> round(nqm_score(deviation, torch.tensor([[[[0.1, 0.7]]]])).item(), 6)
    0.25
    """
    if deviation.shape != mean.shape or mean.ndim < 3:
        raise ValueError(
            "deviation and mean must have the same shape (B, K, *grid), "
            f"got {tuple(deviation.shape)} and {tuple(mean.shape)}"
        )
    return _ratio(deviation.flatten(2).sum(dim=2), mean.flatten(2).sum(dim=2))


def has_classes(model: AbstractNCAModel) -> bool:
    """Say whether a model's interpreted predictions are probabilities of classes."""
    return getattr(model, "num_classes", None) is not None


def cell_values(model: AbstractNCAModel, prediction: Prediction) -> Tensor:
    """Return an interpreted prediction as ``(B, K, *grid)``, in single precision at least.

    A prediction for whole images has one cell: ``(B, K, 1, 1)`` on a grid of two axes.
    """
    values = model.interpret(prediction)
    if values.ndim == 2:
        values = values.view(*values.shape, *[1] * model.spatial_dims)
    # Differences of half-precision values are mostly rounding.
    return values.float() if values.dtype.itemsize < 4 else values


@dataclass
class Gathering:
    """Mean and deviation of predictions that are seen one after the other.

    Source: Welford, Note on a Method for Calculating Corrected Sums of Squares and Products,
    Technometrics 1962, doi:10.1080/00401706.1962.10490022. A sum of squares would lose the
    deviation of values that are far from zero.

    Args:
        model: Model that makes the predictions.
        keep: Whether to keep the predictions, or only the last one.
    """

    model: AbstractNCAModel
    keep: bool
    predictions: list[Prediction] = field(default_factory=list)
    count: int = 0

    def add(self, prediction: Prediction) -> None:
        """Take one more prediction into account."""
        values = cell_values(self.model, prediction)
        if self.count == 0:
            self._begin(values)
        self.count += 1
        delta = values - self._mean
        self._mean += delta / self.count
        self._squares += delta * (values - self._mean)
        self._magnitude += (values.abs() - self._magnitude) / self.count
        if self._entropy is not None:
            self._entropy += (predictive_entropy(values) - self._entropy) / self.count
        if not self.keep:
            self.predictions.clear()
        self.predictions.append(prediction)

    def _begin(self, values: Tensor) -> None:
        self._mean, self._squares, self._magnitude = (torch.zeros_like(values) for _ in range(3))
        self._entropy: Tensor | None = None
        if has_classes(self.model):
            self._entropy = torch.zeros_like(values[:, :1])

    def result(self) -> Spread:
        """Return the spread of what was seen, at least one prediction."""
        deviation = (self._squares / self.count).clamp(min=0).sqrt()
        entropy = information = None
        if self._entropy is not None:
            entropy = predictive_entropy(self._mean)
            information = (entropy - self._entropy).clamp(min=0)
        moments = (self._mean, deviation, self._magnitude)
        return Spread(*moments, entropy, information, self.predictions)
