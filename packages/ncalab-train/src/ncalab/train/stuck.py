"""Warn when a validation score is undefined, or stays at its worst value."""

import logging
import math
from collections.abc import Sequence
from typing import Any

logger = logging.getLogger(__name__)

SEVERAL = 5
"""Number of epochs after which a score that has not moved is worth a warning."""

# Of a training that was shorter.
_FEWEST = 3
# A Dice score of 0 on small sets of small images rises after 10 to 35 batches of the recommended
# recipe: where an epoch is a batch or a few, five of them say nothing yet.
_BATCHES = 100


def epochs_at_worst(curve: Sequence[float], *, higher_is_better: bool, best: float) -> int:
    """Count the latest epochs at which a score stayed at the worst value that it has had.

    Args:
        curve: Value after each epoch, at least one.
        higher_is_better: Direction of the score.
        best: Best value that it can have: whoever stays there is not stuck.

    Returns:
        Number of epochs; 0 if the last value is another, or is NaN.

    >>> epochs_at_worst([0.0, 0.3, 0.0, 0.0], higher_is_better=True, best=1.0)
    2
    >>> epochs_at_worst([1.0, 1.0], higher_is_better=True, best=1.0)
    0
    """
    known = [value for value in curve if not math.isnan(value)]
    if not known or math.isnan(curve[-1]):
        return 0
    worst = min(known) if higher_is_better else max(known)
    if _equal(worst, best):
        return 0
    count = 0
    for value in reversed(curve):
        if not _equal(value, worst):
            break
        count += 1
    return count


def epochs_undefined(curve: Sequence[float]) -> int:
    """Count the latest epochs at which a score was NaN.

    >>> epochs_undefined([math.nan, 0.5, math.nan])
    1
    """
    defined = [place for place, value in enumerate(curve) if not math.isnan(value)]
    return len(curve) - 1 - defined[-1] if defined else len(curve)


def _equal(value: float, other: float) -> bool:
    return math.isclose(value, other, rel_tol=1e-6, abs_tol=1e-9)


def best_possible(metric: Any, *, higher_is_better: bool) -> float:
    """Return the bound of a metric that torchmetrics knows; 1 or 0 where it knows none."""
    name = "plot_upper_bound" if higher_is_better else "plot_lower_bound"
    bound = getattr(metric, name, None)
    if isinstance(bound, int | float):
        return float(bound)
    return 1.0 if higher_is_better else 0.0


def warn_if_at_worst(
    name: str,
    curve: Sequence[float],
    metric: Any,
    *,
    higher_is_better: bool,
    batches: int,
    ended: bool = False,
) -> bool:
    """Log a warning if a score has stayed where it is worst for long.

    Args:
        name: Name of the score.
        curve: Its value after each epoch.
        metric: What measures it.
        higher_is_better: Its direction.
        batches: Number of batches in all these epochs.
        ended: Whether the training has ended; a short one is warned of then.

    Returns:
        Whether it was logged.
    """
    best = best_possible(metric, higher_is_better=higher_is_better)
    count = epochs_at_worst(curve, higher_is_better=higher_is_better, best=best)
    trained = batches * count // max(1, len(curve))
    if not (_is_whole(count, curve) if ended else count >= SEVERAL and trained >= _BATCHES):
        return False
    logger.warning(
        "validation %s has stayed at %.6g, its worst value, for %d epochs: a class may be so rare "
        "that to leave it out costs little (more scales, patches or weights for it), images may "
        "have little contrast (normalize='percentile'), labels may not belong to their images, or "
        "the learning rate may be far off",
        name,
        curve[-1],
        count,
    )
    return True


def warn_if_undefined(name: str, curve: Sequence[float], *, ended: bool = False) -> bool:
    """Log a warning if a score has been NaN for several epochs, and return whether it was logged.

    Args:
        name: Name of the score.
        curve: Its value after each epoch.
        ended: Whether the training has ended; a short one is warned of then.
    """
    count = epochs_undefined(curve)
    if not (_is_whole(count, curve) if ended else count >= SEVERAL):
        return False
    logger.warning(
        "validation %s has been undefined (NaN) for %d epochs: the validation data may lack "
        "what it compares, such as samples of two classes",
        name,
        count,
    )
    return True


def _is_whole(count: int, curve: Sequence[float]) -> bool:
    """Return whether a number of epochs is that of a whole training, which is not the shortest."""
    return _FEWEST <= count == len(curve)
