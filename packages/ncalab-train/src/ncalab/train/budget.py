"""The share of a training that is done, in epochs or minutes, and what depends on it."""

import math
import time
from collections.abc import Callable
from typing import Literal

Decay = Literal["gamma", "cosine", "linear"]

DECAYS = ("gamma", "cosine", "linear")


def decay_factor(progress: float, decay: Decay, final: float) -> float:
    """Return the factor of the learning rate at a time of the training.

    Args:
        progress: Share of the training that is done, 0 to 1.
        decay: "cosine" or "linear": the way from 1 to ``final``. "gamma": always 1, as the rate
            is then that of a scheduler.
        final: Factor at the end.

    >>> [round(decay_factor(p, "cosine", 0.1), 3) for p in (0, 0.5, 1)]
    [1.0, 0.55, 0.1]
    >>> decay_factor(0.25, "linear", 0.0)
    0.75
    """
    if decay == "gamma":
        return 1.0
    falling = (1 + math.cos(math.pi * progress)) / 2 if decay == "cosine" else 1 - progress
    return final + (1 - final) * falling


def warmup_factor(step: int, warmup_steps: int) -> float:
    """Return the factor of the learning rate at an optimiser step, counted from 0.

    >>> [warmup_factor(step, 4) for step in (0, 1, 3, 9)]
    [0.25, 0.5, 1.0, 1.0]
    """
    return min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0


def shortened(steps: int, progress: float, first: float, *, fewest: int = 1) -> int:
    """Return the length of a rollout at a time of the training: short ones first.

    Args:
        steps: Number of steps of a full rollout.
        progress: Share of the training that is done, 0 to 1.
        first: Share of the steps that is taken at its beginning. It grows linearly, and is 1
            from half of the training on.
        fewest: Number of steps that a rollout has at least.

    >>> [shortened(20, p, 0.25) for p in (0.0, 0.25, 0.5, 1.0)]
    [5, 12, 20, 20]
    """
    share = min(1.0, first + (1 - first) * 2 * progress)
    return max(min(fewest, steps), round(share * steps))


class Budget:
    """Measure the share of a training that is done.

    Args:
        epochs: Number of epochs of the whole training.
        minutes: Minutes of the whole training; if given, they decide instead of the epochs.
        clock: Returns seconds.

    Attributes:
        progress: Share that was done when it was last measured, 0 to 1.
    """

    def __init__(
        self,
        epochs: int,
        minutes: float | None = None,
        *,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.epochs, self.minutes = epochs, minutes
        self.progress = 0.0
        self._clock, self._before, self._began = clock, 0.0, clock()

    def seconds(self) -> float:
        """Return how long the training has taken, in all of its processes one after another."""
        return self._before + self._clock() - self._began

    def restart(self, seconds: float) -> None:
        """Begin to measure, in a training that has taken some seconds before."""
        self._before, self._began = seconds, self._clock()

    def measure(self, epochs: float, seconds: float) -> None:
        """Set the progress.

        Args:
            epochs: Number of epochs that are done, with the share of the current one.
            seconds: As of :meth:`seconds`; of many processes, what they agree on.
        """
        done = epochs / self.epochs if self.minutes is None else seconds / (60 * self.minutes)
        self.progress = min(1.0, done)

    def is_spent(self) -> bool:
        """Return whether the minutes are over; without any, epochs are counted elsewhere."""
        return self.minutes is not None and self.progress >= 1
