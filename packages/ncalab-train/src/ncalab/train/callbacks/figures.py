"""Figures of a training in TensorBoard, which change nothing about it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel
from ncalab.train.callbacks.callback import BatchResult, Callback, EpochResult, Training
from ncalab.train.callbacks.tensorboard import TensorBoardLogger
from ncalab.train.guard import Guard
from ncalab.train.random_state import unchanged_random_state
from ncalab.train.visuals import Estimator, Visual, find_plot, find_visual


def make_figures(
    nca: AbstractNCAModel,
    logger: TensorBoardLogger | None,
    visual: Visual | None,
    estimator: Estimator | None,
    val: DataLoader[Any] | None,
    guard: Guard,
    generators: Sequence[torch.Generator] = (),
) -> list[Callback]:
    """Return the callbacks that draw figures; none without a log that they go to.

    Args:
        nca: Model in training.
        logger: Where figures go.
        visual: Draws a batch; if None, the model's own visual or that of an installed package.
        estimator: Estimates the model's uncertainty, which is drawn; None to draw none.
        val: Validation data.
        guard: Logs the first failure of each figure.
        generators: Generators that the training draws from, beside the global ones.
    """
    if logger is None:
        return []
    if visual is None:
        with guard(f"the visual of task {nca.task!r}"):
            visual = find_visual(nca)
    figures: list[Callback] = []
    if visual is not None:
        figures.append(BatchFigure(logger, visual, guard, generators))
    if estimator is not None and val is not None:
        figures.append(UncertaintyFigure(logger, estimator, val, guard, generators))
    return figures


class BatchFigure(Callback):
    """Draw the last batch whenever the run is due to be saved.

    A figure that cannot be drawn does not end a training, and random draws do not change it.

    Args:
        logger: Where the figure goes.
        visual: Draws a batch.
        guard: Logs the first failure.
        generators: Generators that the training draws from, beside the global ones.
    """

    def __init__(
        self,
        logger: TensorBoardLogger,
        visual: Visual,
        guard: Guard,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        self.logger, self.visual, self.guard = logger, visual, guard
        self.generators = generators
        self._last: BatchResult | None = None

    def on_batch_end(self, training: Training, batch: BatchResult) -> None:
        """Keep the last batch."""
        self._last = batch

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Draw the last batch."""
        if not epoch.save_due or self._last is None:
            return
        name, batch = f"plot_function {type(self.visual).__name__}", self._last
        with unchanged_random_state(self.generators), self.guard(name):
            x, y = (tensor.detach().cpu().numpy() for tensor in (batch.x, batch.y))
            figure = self.visual.show(training.nca, x, batch.prediction, y)
            self.logger.figure("Training batch", figure, epoch.number)


class UncertaintyFigure(Callback):
    """Draw how sure the model is of the first validation batch, as :class:`BatchFigure` draws.

    Args:
        logger: Where the figure goes.
        estimator: Estimates the uncertainty.
        loader: Validation data.
        guard: Logs the first failure.
        generators: Generators that the training draws from, beside the global ones.
    """

    def __init__(
        self,
        logger: TensorBoardLogger,
        estimator: Estimator,
        loader: DataLoader[Any],
        guard: Guard,
        generators: Sequence[torch.Generator] = (),
    ) -> None:
        self.logger, self.estimator, self.loader, self.guard = logger, estimator, loader, guard
        self.generators = generators

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Draw a heat map of the uncertainty."""
        if not epoch.save_due:
            return
        name = f"uncertainty {type(self.estimator).__name__}"
        with unchanged_random_state(self.generators), self.guard(name):
            image, label, *others = next(iter(self.loader))
            goal = {"goal": others[0]} if training.nca.goal_size and others else {}
            heatmap, predictions, _ = self.estimator.estimate(image, **goal)
            plot = find_plot("uncertainty")
            figure = plot(training.nca, image, predictions[-1], heatmap.detach().cpu(), label)
            self.logger.figure("Uncertainty", figure, epoch.number)
