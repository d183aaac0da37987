"""The spread of several predictions: which cells depend on the cells that happened to fire."""

from typing import Any

from ncalab.core import AbstractNCAModel
from ncalab.core.checks import check_int
from ncalab.uncertainty.passes import DEFAULT_MEMORY, run_passes, start_pass
from ncalab.uncertainty.sampling import Run, SamplingEstimator, Visit


class NQM(SamplingEstimator):
    """Spread of several predictions, which differ in the cells that fire and the padding noise.

    The standard deviation divides by N, so it is 0 for N = 1. The NQM score of the paper (sum of
    the deviation over sum of the mean) is ``spread(image).nqm``, or ``estimate(image, "sum")``
    with ``normalize=True``; the plain mean is ``estimate(image)``.

    Pass n of image i fires the cells of ``nca.predict(image, seed=seed, samples=[i + n * 2**32])``,
    whatever the batch, the number of passes and the memory. Padding noise and number of steps, if
    they are random, are drawn for each pass.

    Source: Kalkhof and Mukhopadhyay, M3D-NCA: Robust 3D Segmentation with Built-in Quality
    Control, MICCAI 2023, arXiv:2309.02954, section "Inherent Quality Control".

    Args:
        nca: Trained model, or a cascade.
        N: Number of predictions, at least 1.
        normalize: As in :class:`SamplingEstimator`.
        memory: Working memory in bytes. As many passes as fit run as one batch; a single one may
            exceed it.
        **options: ``measure``, ``keep_predictions`` and ``progress`` of
            :class:`SamplingEstimator`.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range.

    >>> import torch
    >>> from ncalab.core import AbstractNCAModel
    >>> class Bare(AbstractNCAModel):
    ...     def loss(self, pred, label): ...
    >>> nca = Bare(torch.device("cpu"), 1, 2, 1, inference_timesteps=3)
    >>> heatmap, predictions, score = NQM(nca, N=4).estimate(torch.rand(2, 1, 5, 7), "max", seed=0)
    >>> heatmap.shape, len(predictions), score.tolist()
    (torch.Size([2, 1, 5, 7]), 4, [[0.0], [0.0]])
    """

    def __init__(
        self,
        nca: AbstractNCAModel,
        N: int = 10,  # noqa: N803 - the documented name
        normalize: bool = False,
        *,
        memory: int = DEFAULT_MEMORY,
        **options: Any,
    ) -> None:
        super().__init__(nca, normalize, **options)
        self.N = check_int("N", N, minimum=1)
        self.memory = check_int("memory", memory, minimum=1)

    def _visit_predictions(self, run: Run, visit: Visit) -> None:
        arguments = (run.steps, run.seed, run.samples, run.goal)
        starts = (start_pass(self.nca, run.image, n, *arguments) for n in range(self.N))
        with self._bar(self.N, "pass") as bar:
            for prediction in run_passes(self.nca, starts, run.seed, self.memory):
                visit(prediction)
                bar.update()
