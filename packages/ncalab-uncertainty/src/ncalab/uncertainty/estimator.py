"""Base of all estimators: from an image to a heat map, predictions and a score."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.checks import check_choice

Reduce = Literal["mean", "max", "sum", "median"]
"""Reduction of the heat map of an image to its score."""


def reduce_heatmap(heatmap: Tensor, reduce: str = "mean") -> Tensor:
    """Reduce a heat map to one score for each image and channel.

    Args:
        heatmap: Uncertainty of each cell, shape ``(B, K, *grid)``.
        reduce: "mean", "max", "sum" or "median" (the lower of the two in the middle) of all cells.

    Returns:
        Scores, shape ``(B, K)``.

    Raises:
        ValueError: If the reduction is not known, or the heat map has another shape.

    >>> reduce_heatmap(torch.tensor([[[[0.0, 0.1, 0.5]]]]), "median").item()
    0.10000000149011612
    """
    check_choice("reduce", reduce, get_args(Reduce))
    if not 3 <= heatmap.ndim <= 5:
        raise ValueError(f"heatmap must have shape (B, K, *grid), got {tuple(heatmap.shape)}")
    cells = heatmap.flatten(2)
    if reduce == "max":
        return cells.amax(dim=2)
    if reduce == "median":
        return cells.median(dim=2).values
    return cells.mean(dim=2) if reduce == "mean" else cells.sum(dim=2)


class UncertaintyEstimator(ABC):
    """Base class of estimators of how unsure a model is of its predictions.

    Uncertainty is measured on ``nca.interpret(prediction)``: on class or mask probabilities, depth
    in its unit, or colours, whatever the model's task is. A subclass defines :meth:`_estimate`.

    Args:
        nca: Trained model, or a cascade.

    Raises:
        TypeError: If it is not a model.
    """

    def __init__(self, nca: AbstractNCAModel) -> None:
        if not isinstance(nca, AbstractNCAModel):
            raise TypeError(f"nca must be an AbstractNCAModel, got {type(nca).__name__}")
        self.nca = nca

    @abstractmethod
    def _estimate(self, image: Tensor, **options: Any) -> tuple[Tensor, list[Prediction]]:
        """Estimate the uncertainty of each cell.

        Args:
            image: As in :meth:`estimate`.
            **options: Those of ``steps``, ``seed``, ``samples`` and ``goal`` that
                :meth:`estimate` was given. An estimator that knows none of them need not accept
                any.

        Returns:
            Heat map, shape ``(B, K, *grid)``, and the predictions it was made from.
        """

    def check(self) -> None:  # noqa: B027 - most estimators can estimate any prediction
        """Raise unless the predictions that the model makes by default can be estimated.

        A training that shows heat maps asks before it begins.

        Raises:
            ValueError: If they cannot.
        """

    def estimate(
        self,
        image: Tensor,
        reduce: str = "mean",
        *,
        steps: int | tuple[int, int] | None = None,
        seed: int | None = None,
        samples: Sequence[int] | None = None,
        goal: Tensor | None = None,
    ) -> tuple[Tensor, list[Prediction], Tensor]:
        """Estimate how unsure the model is of what it predicts.

        Without gradients, in evaluation mode (which is restored), on the model's device.

        Args:
            image: Images ``(B, image channels, *grid)`` or states ``(B, C, *grid)``, floating
                point, on any device; not changed.
            reduce: "mean", "max", "sum" or "median" over the cells of the heat map.
            steps: Number of steps of a prediction, or a range (min, max) to draw it from;
                ``inference_timesteps`` if None.
            seed: Seed of all that is random: padding noise, number of steps, fire masks,
                disturbances. Drawn from torch's default CPU generator if None.
            samples: Index of each image in the fire masks, ``0 ... B - 1`` if None: an image of
                the same index fires the same cells in any batch.
            goal: Goal of each image, for a model with ``goal_size``: vectors ``(B, goal_size)``, or
                indices ``(B,)`` with ``num_goals``.

        Returns:
            Heat map, shape ``(B, K, *grid)``, floating point, K the channels of
            ``nca.interpret`` (one for entropies), and W = H = 1 where the model predicts for
            whole images; the predictions it was made from, the final one last; and scores, shape
            ``(B, K)``.

        Raises:
            TypeError: If ``image`` is not a floating-point tensor.
            ValueError: If ``reduce``, or the shape of ``image``, is not as described.
        """
        check_choice("reduce", reduce, get_args(Reduce))
        options = {"steps": steps, "seed": seed, "samples": samples, "goal": goal}
        given = {name: value for name, value in options.items() if value is not None}
        with torch.no_grad():
            heatmap, predictions = self._estimate(image, **given)
            return heatmap, predictions, reduce_heatmap(heatmap, reduce)

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[Tensor, list[Prediction], Tensor]:
        """Return :meth:`estimate` of the same arguments."""
        return self.estimate(*args, **kwargs)
