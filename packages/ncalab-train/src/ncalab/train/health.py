"""Warn when the loss does not fall, or cells die, saturate or do nothing."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.alive import alive_mask
from ncalab.train.stuck import SEVERAL

logger = logging.getLogger(__name__)

SATURATED = 1e4
"""Size of a state from which on single precision rounds off what a step changes."""

# A fall by less than this share of the first loss does not count: batches differ by more.
_FALL = 0.01
# Number of epochs in a row with the same trouble in the last batch of each.
_IN_A_ROW = 3


@dataclass(frozen=True)
class CellStatistics:
    """Statistics of the cells of a batch after a rollout.

    Attributes:
        largest: Largest size of a value that steps can change.
        living: Share of living cells; 1 for a model without a mask of them.
    """

    largest: float
    living: float


def measure_cells(model: AbstractNCAModel, state: Tensor) -> Tensor:
    """Measure states where they are; nothing is read from the device.

    Args:
        model: Model that made them.
        state: States after a rollout, shape ``(B, C, W, H)``.

    Returns:
        The values of :class:`CellStatistics`, shape ``(2,)``, float32.
    """
    changed = state[:, model.num_fixed_channels :].detach().float()
    largest = changed.abs().amax() if changed.numel() else changed.new_ones(())
    living = alive_mask(state.detach()).float().mean() if model.use_alive_mask else largest * 0 + 1
    return torch.stack([largest, living])


def trouble_of(cells: CellStatistics) -> str | None:
    """Describe the trouble that cells are in, and its likely reason; None if there is none.

    >>> str(trouble_of(CellStatistics(largest=2.0, living=0.0))).split(":")[0]
    'all cells die'
    """
    if cells.living == 0:
        return (
            "all cells die: no opacity is above 0.1 any more at the end of a rollout; the learning "
            "rate may be too high, at first (warmup_steps=100) or throughout, or rollouts too long "
            "to begin with (first_steps=0.25)"
        )
    if cells.largest == 0:
        return (
            "cells do nothing: all that steps can change is 0 at the end of a rollout; the rule "
            "may be frozen or its hidden neurons inactive for every cell (a lower learning rate), "
            "or fire_rate 0"
        )
    if cells.largest > SATURATED:
        return (
            f"cells saturate: states reach {cells.largest:.3g} at the end of a rollout; the "
            "learning rate may be too high, gradients want gradient_clipping=True, or hidden "
            "channels a weight in the loss (lambda_hidden)"
        )
    return None


def epochs_without_fall(losses: Sequence[float]) -> int:
    """Count the epochs in which the loss has never been clearly below that of the first one.

    >>> epochs_without_fall([1.0, 1.2, 0.999]), epochs_without_fall([1.0, 0.9, 1.3])
    (2, 0)
    """
    if not losses or min(losses) < losses[0] - _FALL * abs(losses[0]):
        return 0
    return len(losses) - 1


class HealthMonitor:
    """Log one warning for each trouble that a training has."""

    def __init__(self) -> None:
        self._count = 0
        self._last: str | None = None
        self._judged = False

    def see_epoch(
        self, losses: Sequence[float], cells: CellStatistics | None, *, warming: bool = False
    ) -> None:
        """Check an epoch.

        Args:
            losses: Loss of each epoch so far.
            cells: Statistics of its last batch, if there was one.
            warming: Whether the learning rate is still rising to what it is to be.
        """
        if not warming and len(losses) > SEVERAL:
            self._judge(losses)
        self._see_cells(cells)

    def _judge(self, losses: Sequence[float]) -> None:
        # Once: looking through all losses after each of many short epochs would add up.
        if self._judged:
            return
        self._judged = True
        if count := epochs_without_fall(losses):
            logger.warning(
                "the training loss has not fallen for %d epochs (%.6g, then %.6g): the learning "
                "rate may be far too low or too high, labels may not belong to their images, "
                "parameters may be frozen, or the model had learned them before",
                count,
                losses[0],
                losses[-1],
            )

    def _see_cells(self, cells: CellStatistics | None) -> None:
        trouble = None if cells is None else trouble_of(cells)
        kind = None if trouble is None else trouble.split(":")[0]
        self._count = self._count + 1 if kind is not None and kind == self._last else 1
        self._last = kind
        if trouble is not None and self._count == _IN_A_ROW:
            logger.warning("for %d epochs, %s", _IN_A_ROW, trouble)
