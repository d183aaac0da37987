"""The area under the ROC curve: exact for as many scores as are kept, and nearly so beyond.

Importing this module imports torchmetrics, and with it matplotlib where that is installed.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torchmetrics import Metric

from ncalab.core.checks import check_int

SCORES_KEPT = 2**13
"""Number of scores of each class that are kept, where nothing else is asked for."""


class ScoreCounts(NamedTuple):
    """Scores of K classes, and how many samples have each; in any order.

    Attributes:
        scores: Shape ``(n, K)``, in a wider type than predictions have: means are kept apart.
        positives: Number of samples of the class with each score, shape ``(n, K)``, floating point.
        negatives: Number of all other samples with each score, shape ``(n, K)``, floating point.
    """

    scores: Tensor
    positives: Tensor
    negatives: Tensor

    def sorted(self) -> "ScoreCounts":
        """Return them by ascending scores, class by class."""
        scores, order = self.scores.sort(dim=0, stable=True)
        return ScoreCounts(scores, *(count.gather(0, order) for count in self[1:]))

    def merged(self, most: int) -> "ScoreCounts":
        """Merge sorted neighbours until there are ``most`` scores at most.

        Equal scores are merged first, which loses nothing. Where that is not enough, each class is
        cut into parts that hold the same share of its positives and negatives; a part then counts
        as one score, their mean. Only samples of one part can be compared wrongly for it, so that
        an area changes by 1 / ``most`` at most.

        Returns:
            Counts, shape ``(most, K)``, sorted; some may be of no sample.
        """
        place = (self.scores.diff(dim=0, prepend=self.scores[:1]) > 0).long().cumsum(dim=0)
        share = (_shares_before(self.positives) + _shares_before(self.negatives)) / 2
        part = (share * most).long().clamp(max=most - 1)
        # Equal scores stay together, in the part of the first of them.
        is_first = torch.cat([torch.ones_like(place[:1]), place.diff(dim=0)]) > 0
        part = torch.where(is_first, part, 0).cummax(dim=0).values
        place = torch.where(place[-1:] < most, place, part)
        positives, negatives = (_added(count, place, most) for count in self[1:])
        mass, total = self.positives + self.negatives, positives + negatives
        weighted = torch.where(mass > 0, mass * self.scores, 0)
        means = _added(weighted, place, most) / total
        # A place without samples takes the score before it: the order stays, and no count changes.
        scores = torch.where(total > 0, means, -torch.inf).cummax(dim=0).values
        return ScoreCounts(scores, positives, negatives)

    def areas(self) -> Tensor:
        """Return the area of each class, shape ``(K,)``: the probability of the right order.

        It is that of a positive sample having a higher score than a negative one, ties counting
        half (Hanley and McNeil, Radiology 1982, doi:10.1148/radiology.143.1.7063747). NaN where
        there is nothing to compare, or a score is NaN.
        """
        merged = self.sorted().merged(len(self.scores))
        below = merged.negatives.cumsum(dim=0) - merged.negatives / 2
        right = (merged.positives * below).sum(dim=0)
        pairs = self.positives.sum(dim=0) * self.negatives.sum(dim=0)
        return torch.where(self.scores.isnan().any(dim=0), torch.nan, right / pairs)


def _shares_before(counts: Tensor) -> Tensor:
    """Return which share of the samples of a class comes before each score, shape ``(n, K)``."""
    ends = counts.cumsum(dim=0)
    return (ends - counts) / ends[-1:].clamp(min=1)


def _added(values: Tensor, place: Tensor, most: int) -> Tensor:
    return values.new_zeros(most, values.shape[1]).scatter_add(0, place, values)


class MacroAUROC(Metric):
    """Area under the ROC curve of each class against all others, averaged over classes.

    Up to a number of distinct scores the area is exact. Beyond it, neighbouring scores are merged
    where samples are many, so that neither memory grows with the data nor does it matter where in
    [0, 1] the scores lie. A class that is missing from the labels (or the only one) has no curve
    and is left out.

    Args:
        num_classes: Number of classes K.
        kept: Number of scores of each class that are kept, at least 16.
        **kwargs: Further arguments of torchmetrics' ``Metric``.

    Raises:
        TypeError: If a number is not an integer.
        ValueError: If one is too small.

    >>> metric = MacroAUROC(3)
    >>> scores = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]])
    >>> metric.update(scores, torch.tensor([0, 1]))
    >>> metric.compute().item()
    1.0
    """

    higher_is_better = True
    is_differentiable = False
    full_state_update = False
    plot_lower_bound = 0.0
    plot_upper_bound = 1.0
    scores: Tensor
    positives: Tensor
    negatives: Tensor

    def __init__(self, num_classes: int, kept: int = SCORES_KEPT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_classes = check_int("num_classes", num_classes, minimum=2)
        self.kept = check_int("kept", kept, minimum=16)
        for name in ScoreCounts._fields:
            # Samples along the first axis, so that processes can put theirs together.
            self.add_state(name, torch.zeros(0, num_classes), dist_reduce_fx="cat")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            preds: Scores, shape ``(B, K)``, floating point.
            target: Class indices, shape ``(B,)``.
        """
        is_class = torch.nn.functional.one_hot(target, self.num_classes)
        new = (each.to(_exact(preds)) for each in (preds.detach(), is_class, 1 - is_class))
        pairs = zip(self._counts(), new, strict=True)
        self._keep(ScoreCounts(*(torch.cat([old.to(added), added]) for old, added in pairs)))

    def _counts(self) -> ScoreCounts:
        return ScoreCounts(self.scores, self.positives, self.negatives)

    def _keep(self, counts: ScoreCounts) -> None:
        if len(counts.scores) > self.kept:
            # Down to half, so that it is not done for every batch.
            counts = counts.sorted().merged(self.kept // 2)
        self.scores, self.positives, self.negatives = counts

    def compute(self) -> Tensor:
        """Return the mean area; NaN if no class has a curve."""
        if not len(self.scores):
            return self.scores.new_full((), torch.nan)
        counts = self._counts()
        measured = (counts.positives.sum(dim=0) > 0) & (counts.negatives.sum(dim=0) > 0)
        return counts.areas()[measured].mean()


def _exact(values: Tensor) -> torch.dtype:
    """Return the widest type of a device; that of MPS counts to 2**24."""
    return torch.float32 if values.device.type == "mps" else torch.float64
