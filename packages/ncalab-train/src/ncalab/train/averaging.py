"""Exponential moving average of the weights of a model."""

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ncalab.core import AbstractNCAModel


def make_average(
    nca: AbstractNCAModel, decay: float | None, steps: Callable[[], int] | None
) -> AveragedModel | None:
    """Return an average that begins with the weights of a model.

    Args:
        nca: The model.
        decay: Decay of the average, in [0, 1); None for no average.
        steps: Returns the number of optimiser steps taken, for an average that begins with the
            latest weights: after n steps, its decay is (1 + n) / (10 + n) at most. None: the decay
            is the same from the first step.
    """
    if decay is None:
        return None
    if steps is None:
        return AveragedModel(nca, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def warmed_up(averaged: Any, latest: Any, count: Tensor | int) -> None:
        # Not of the count, which is on the device.
        now = min(decay, (1 + steps()) / (10 + steps()))
        get_ema_multi_avg_fn(now)(averaged, latest, count)

    return AveragedModel(nca, multi_avg_fn=warmed_up)
