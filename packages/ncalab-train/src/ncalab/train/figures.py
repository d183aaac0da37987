"""Figures of a training in TensorBoard, which change nothing about it."""

from typing import TYPE_CHECKING

from ncalab.train.random_state import unchanged_random_state
from ncalab.train.visuals import Estimator, Visual, find_plot

if TYPE_CHECKING:
    from ncalab.train.run import Run


class Figures:
    """Draw the last batch, and how sure the model is of the first validation batch.

    What cannot be drawn ends no training, and what is drawn at random changes none.

    Args:
        run: The training.
        visual: Draws a batch; None for no such figure.
        uncertainty: Estimates the uncertainty; None for no such figure.
    """

    def __init__(self, run: "Run", visual: Visual | None, uncertainty: Estimator | None) -> None:
        self.run, self.visual, self.uncertainty = run, visual, uncertainty

    def draw(self) -> None:
        """Write both figures."""
        with unchanged_random_state(self.run.generators):
            self._draw_batch()
            self._draw_uncertainty()

    def _draw_batch(self) -> None:
        run, visual, batch = self.run, self.visual, self.run.last_batch
        if visual is None or batch is None:
            return
        with run.guard(f"plot_function {type(visual).__name__}"):
            x, y = (tensor.detach().cpu().numpy() for tensor in (batch.x, batch.y))
            figure = visual.show(run.nca, x, batch.prediction, y)
            run.records.figure("Training batch", figure, run.history.current_epoch)

    def _draw_uncertainty(self) -> None:
        run, estimator = self.run, self.uncertainty
        if estimator is None or run.val is None:
            return
        with run.guard(f"uncertainty {type(estimator).__name__}"):
            image, label, *_ = next(iter(run.val))
            heatmap, predictions, _ = estimator.estimate(image)
            plot = find_plot("uncertainty")
            figure = plot(run.nca, image, predictions[-1], heatmap.detach().cpu(), label)
            run.records.figure("Uncertainty", figure, run.history.current_epoch)
