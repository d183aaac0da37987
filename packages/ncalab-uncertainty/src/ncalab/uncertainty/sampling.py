"""Estimators that compare several predictions of the same image."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.checks import check_choice, check_flag
from ncalab.core.evaluation import evaluating
from ncalab.core.fire import check_seed, draw_seed
from ncalab.core.progress import progress_bar
from ncalab.uncertainty.estimator import UncertaintyEstimator
from ncalab.uncertainty.spread import Gathering, Spread, has_classes

Measure = Literal["deviation", "entropy", "mutual_information"]
"""Statistic of several predictions that the heat map shows."""

Visit = Callable[[Prediction], None]


class Run(NamedTuple):
    """Source of the predictions of one estimate.

    Attributes:
        image: Images or states, as in :meth:`UncertaintyEstimator.estimate`.
        steps: Number of steps, a range of it, or None.
        seed: Seed of all that is random.
        samples: Index of each image in the fire masks, or None.
        goal: Goal of each image, or None.
    """

    image: Tensor
    steps: int | tuple[int, int] | None
    seed: int
    samples: Sequence[int] | None
    goal: Tensor | None


class SamplingEstimator(UncertaintyEstimator):
    """Base class of estimators that compare several predictions of the same image.

    A subclass defines :meth:`_visit_predictions`. Predictions are gathered as they are made, so
    that memory depends on their number only as far as they are returned.

    Args:
        nca: Trained model, or a cascade.
        normalize: Whether to divide the deviation by the sum of the mean prediction over all
            cells (of its magnitude, where it can be negative): by the foreground's expected size
            in cells. ``reduce="sum"`` then gives the score of :func:`nqm_score`.
        measure: "deviation" (standard deviation, in the unit of ``nca.interpret``); or, for
            models of classes, "entropy" (of the mean of the predictions, in nats) or
            "mutual_information" (the part of it that comes from their disagreement).
        keep_predictions: Whether to return all predictions, whole states on the model's device,
            or only the final one. Without them, memory does not depend on their number.
        progress: Whether to show a progress bar.

    Raises:
        TypeError: If ``nca`` is not a model.
        ValueError: If ``measure`` is none of these, needs classes that the model does not have, or
            is normalized without being a deviation.
    """

    def __init__(
        self,
        nca: AbstractNCAModel,
        normalize: bool = False,
        *,
        measure: Measure = "deviation",
        keep_predictions: bool = True,
        progress: bool = False,
    ) -> None:
        super().__init__(nca)
        check_choice("measure", measure, get_args(Measure))
        if measure != "deviation" and not has_classes(nca):
            raise ValueError(
                "measure must be 'deviation' for a model without classes (it has no num_classes), "
                f"got {measure!r}"
            )
        self.normalize = check_flag("normalize", normalize)
        if measure != "deviation" and normalize:
            raise ValueError(f"normalize must be False for measure={measure!r}, got True")
        self.measure: Measure = measure
        self.keep_predictions = check_flag("keep_predictions", keep_predictions)
        self.progress = check_flag("progress", progress)

    @abstractmethod
    def _visit_predictions(self, run: Run, visit: Visit) -> Tensor | None:
        """Make the predictions to compare, and hand each to ``visit``, the final one last.

        It is called without gradients and in evaluation mode.

        Returns:
            What the deviation is measured from, shape ``(B, K, W, H)``; None for their mean.
        """

    def spread(
        self,
        image: Tensor,
        *,
        steps: int | tuple[int, int] | None = None,
        seed: int | None = None,
        samples: Sequence[int] | None = None,
        goal: Tensor | None = None,
    ) -> Spread:
        """Measure all that :meth:`estimate` chooses from: mean, deviation, entropies.

        Args:
            image: As in :meth:`estimate`.
            steps: As in :meth:`estimate`.
            seed: As in :meth:`estimate`.
            samples: As in :meth:`estimate`.
            goal: As in :meth:`estimate`.

        Returns:
            Mean, deviation and entropies of the predictions, and the predictions.
        """
        seed = draw_seed() if seed is None else check_seed(seed)
        with torch.no_grad(), evaluating(self.nca):
            return self._spread(Run(image, steps, seed, samples, goal))

    def _spread(self, run: Run) -> Spread:
        gathering = Gathering(self.nca, self.keep_predictions)
        reference = self._visit_predictions(run, gathering.add)
        spread = gathering.result()
        return spread if reference is None else spread.about(reference)

    def _estimate(self, image: Tensor, **options: Any) -> tuple[Tensor, list[Prediction]]:
        spread = self.spread(image, **options)
        heatmap = spread.relative if self.normalize else getattr(spread, self.measure)
        return heatmap, spread.predictions

    def _bar(self, total: int, unit: str) -> Any:
        name = type(self).__name__
        return progress_bar(total=total, desc=name, unit=unit, disable=not self.progress)
