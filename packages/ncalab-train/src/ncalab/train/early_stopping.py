"""Early stopping: end a training whose metric has not improved for a while."""

import math

from ncalab.core.checks import check_flag, check_int, check_non_negative, check_type


def improves(value: float, best: float, *, higher_is_better: bool, min_delta: float = 0.0) -> bool:
    """Decide whether a value beats the best one so far.

    Args:
        value: New value; NaN beats nothing.
        best: Best value so far; NaN if there is none.
        higher_is_better: Direction of the metric.
        min_delta: By how much to beat it at least; what rounding takes from it does not count.

    >>> improves(-3.0, -5.0, higher_is_better=True), improves(0.2, 0.1, higher_is_better=False)
    (True, False)
    >>> improves(0.6, 0.5, higher_is_better=True, min_delta=0.1)  # 0.6 - 0.5 < 0.1 in floats
    True
    """
    if math.isnan(value) or math.isnan(best):
        return not math.isnan(value)
    gain = value - best if higher_is_better else best - value
    rounding = 4 * math.ulp(max(abs(value), abs(best)))
    return gain > 0 and gain >= min_delta - rounding


class EarlyStopping:
    """Count the epochs without improvement.

    Args:
        patience: Number of epochs without improvement after which to stop, at least 1.
        min_delta: What counts as improvement, at least 0. With 0, any improvement does.
        higher_is_better: Direction of the values. None: higher, unless a trainer knows better.

    Attributes:
        best_accuracy: Best value so far; 0 before the first one.
        counter: Number of epochs since then.

    >>> stopping = EarlyStopping(patience=2)
    >>> for accuracy in (0.5, 0.7, 0.7, 0.6):
    ...     stopping.step(accuracy)
    >>> stopping.done(), stopping.best_accuracy
    (True, 0.7)
    """

    def __init__(
        self, patience: int, min_delta: float = 1e-6, *, higher_is_better: bool | None = None
    ) -> None:
        self.patience = check_int("patience", patience, minimum=1)
        check_non_negative("min_delta", min_delta)
        self.min_delta = min_delta
        if higher_is_better is not None:
            check_flag("higher_is_better", higher_is_better)
        self.higher_is_better = higher_is_better
        self.reset()

    def reset(self, *, higher_is_better: bool = True) -> None:
        """Forget all epochs; every training that is not resumed begins with it.

        Args:
            higher_is_better: Direction of the values to come, unless the object was given its own.
        """
        given = self.higher_is_better
        self._higher = higher_is_better if given is None else given
        self.best_accuracy = 0.0
        # Without this, a negative metric would never beat it.
        self._has_best = False
        self.counter = 0

    def done(self) -> bool:
        """Return whether ``patience`` epochs have passed without improvement."""
        return self.counter >= self.patience

    def step(self, accuracy: float) -> None:
        """Count an epoch.

        Args:
            accuracy: Value of the metric (or loss) that is watched.
        """
        best, delta = self.best_accuracy if self._has_best else math.nan, self.min_delta
        if improves(accuracy, best, higher_is_better=self._higher, min_delta=delta):
            self.best_accuracy, self._has_best = accuracy, True
            self.counter = 0
        else:
            self.counter += 1

    def state_dict(self) -> dict[str, float]:
        """Return what was counted so far."""
        best = self.best_accuracy if self._has_best else math.nan
        return {"best_accuracy": best, "counter": self.counter}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Continue to count from what :meth:`state_dict` returned."""
        best = float(state["best_accuracy"])
        self._has_best = not math.isnan(best)
        self.best_accuracy = best if self._has_best else 0.0
        self.counter = int(state["counter"])


def check_stopping(stopping: EarlyStopping, *, higher_is_better: bool) -> None:
    """Raise unless early stopping waits for the direction in which the training improves.

    Raises:
        TypeError: If it is not an EarlyStopping.
        ValueError: If it waits for the other direction.
    """
    check_type("earlystopping", stopping, EarlyStopping)
    if stopping.higher_is_better not in (None, higher_is_better):
        raise ValueError(
            f"earlystopping must have higher_is_better={higher_is_better} (or None) for this "
            "validation_metric (or, without validation, the loss), "
            f"got {stopping.higher_is_better}"
        )
