"""Uncertainty by perturbation: which disturbed cells do not return to their state."""

from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.checks import check_choice, check_fraction, check_int, check_non_negative
from ncalab.uncertainty.passes import DEFAULT_MEMORY, Start, pass_seed, run_passes, start_pass
from ncalab.uncertainty.sampling import Run, SamplingEstimator, Visit
from ncalab.uncertainty.spread import cell_values

Disturbance = Literal["noise", "erase"]
"""Kind of disturbance of the state of the cells."""


class Perturbation(SamplingEstimator):
    """Deviation of predictions whose converged state was disturbed from the undisturbed one.

    After a prediction, the state is disturbed and the rollout continued, several times; once it
    is continued undisturbed, and the same cells fire. The heat map is the root of the mean squared
    difference between the two: small where the state is an attractor that disturbances are drawn
    back to. Entropies are those of the disturbed predictions. Image channels that no step may
    change are not disturbed. A cascade continues at its last scale.

    The idea is that of damage and regrowth in Mordvintsev et al., Growing Neural Cellular Automata,
    Distill 2020, doi:10.23915/distill.00023, section "Experiment 3"; as a measure of uncertainty,
    it is ours.

    Args:
        nca: Trained model, or a cascade.
        N: Number of disturbances, at least 1.
        normalize: As in :class:`SamplingEstimator`.
        disturbance: "noise" is added to all cells, Gaussian, its deviation ``strength`` times that
            of the channel over the cells of the image; or "erase": each cell is set to zero with
            probability ``strength``.
        strength: How strong the disturbance is, at least 0; a probability for "erase".
        recovery: Number of steps to continue for, at least 1.
        memory: Working memory in bytes, as in :class:`NQM`.
        **options: ``measure``, ``keep_predictions`` and ``progress`` of
            :class:`SamplingEstimator`.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range.

    >>> import torch
    >>> from ncalab.core import AbstractNCAModel
    >>> class Frozen(AbstractNCAModel):
    ...     def loss(self, pred, label): ...
    >>> nca = Frozen(torch.device("cpu"), 1, 0, 1, pad_noise=True, inference_timesteps=3)
    >>> image = torch.rand(1, 1, 32, 32)
    >>> heatmap, predictions, score = Perturbation(nca, N=50, strength=0.2)(image, seed=0)
    >>> round(score.item() / 0.225, 2)  # nothing returns where no cell changes
    0.2
    """

    def __init__(
        self,
        nca: AbstractNCAModel,
        N: int = 10,  # noqa: N803 - as in NQM
        normalize: bool = False,
        *,
        disturbance: Disturbance = "noise",
        strength: float = 0.1,
        recovery: int = 10,
        memory: int = DEFAULT_MEMORY,
        **options: Any,
    ) -> None:
        super().__init__(nca, normalize, **options)
        check_choice("disturbance", disturbance, get_args(Disturbance))
        if disturbance == "erase":
            check_fraction("strength", strength)
        else:
            check_non_negative("strength", strength)
        self.N = check_int("N", N, minimum=1)
        self.disturbance: Disturbance = disturbance
        self.strength = strength
        self.recovery = check_int("recovery", recovery, minimum=1)
        self.memory = check_int("memory", memory, minimum=1)

    def _visit_predictions(self, run: Run, visit: Visit) -> Tensor:
        first = start_pass(self.nca, run.image, 0, run.steps, run.seed, run.samples, run.goal)
        (converged,) = run_passes(self.nca, [first], run.seed, self.memory)
        rest = Start(
            converged.output_image, self.recovery, first.samples, converged.steps, first.goal
        )
        (undisturbed,) = run_passes(self.nca, [rest], run.seed, self.memory)
        disturbed = self._disturbances(rest, run.seed)
        with self._bar(self.N, "pass") as bar:
            for prediction in run_passes(self.nca, disturbed, run.seed, self.memory):
                visit(prediction)
                bar.update()
        return cell_values(self.nca, undisturbed)

    def _disturbances(self, rest: Start, seed: int) -> Iterator[Start]:
        for n in range(self.N):
            # The first seed is that of the padding noise, which must not come again.
            generator = torch.Generator().manual_seed(pass_seed(seed, n + 1))
            yield rest._replace(state=self._disturb(rest.state, generator))

    def _disturb(self, state: Tensor, generator: torch.Generator) -> Tensor:
        """Return disturbed copies of states."""
        fixed, mutable = self.nca._split_fixed(state)
        if self.disturbance == "erase":
            # Drawn on the CPU, so it is the same on every device.
            drawn = torch.rand(len(state), 1, *state.shape[2:], generator=generator)
            mutable = torch.where((drawn < self.strength).to(state.device), 0, mutable)
        else:
            drawn = torch.randn(mutable.shape, generator=generator).to(mutable)
            cells = tuple(range(2, mutable.ndim))
            deviation = mutable.std(dim=cells, correction=0, keepdim=True)
            mutable = mutable + self.strength * deviation * drawn
        return torch.cat([fixed, mutable], dim=1)
