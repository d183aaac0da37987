"""The spread of the last steps of one rollout: which cells have not come to rest."""

from typing import Any

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, interpret_range_parameter
from ncalab.core.checks import check_int, check_timesteps
from ncalab.uncertainty.sampling import Run, SamplingEstimator, Visit


class MCMC(SamplingEstimator):
    """Spread of the states of the last steps of one rollout, taken as draws of a Markov chain.

    It costs one prediction: ``nca.predict(image, seed=seed)``, which is the final one. The standard
    deviation divides by N_last. In a cascade, steps at a coarse scale count as they are at full
    size.

    Source: the states of a stochastic automaton form a Markov chain; once it has converged, its
    last states are (correlated) draws of its stationary distribution, as in Markov chain Monte
    Carlo (Metropolis et al. 1953, doi:10.1063/1.1699114).

    Args:
        nca: Trained model, or a cascade.
        N_last: Number of steps, the last ones of a rollout, to compare; at least 1.
        normalize: As in :class:`SamplingEstimator`.
        **options: ``measure``, ``keep_predictions`` and ``progress`` of
            :class:`SamplingEstimator`.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range; by :meth:`estimate`, if a rollout may have fewer
            steps than ``N_last``.

    >>> import torch
    >>> from ncalab.core import AbstractNCAModel
    >>> class Counter(AbstractNCAModel):
    ...     def loss(self, pred, label): ...
    ...     def _update(self, x, step): return torch.ones_like(x)
    >>> nca = Counter(torch.device("cpu"), 1, 0, 1, fire_rate=1.0, inference_timesteps=9)
    >>> heatmap, predictions, score = MCMC(nca, N_last=3)(torch.rand(1, 1, 5, 7))
    >>> [prediction.steps for prediction in predictions], round(score.item(), 4)  # of 7, 8 and 9
    ([7, 8, 9], 0.8165)
    """

    def __init__(
        self,
        nca: AbstractNCAModel,
        N_last: int = 10,  # noqa: N803 - the documented name
        normalize: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(nca, normalize, **options)
        self.N_last = check_int("N_last", N_last, minimum=1)

    def check(self) -> None:
        """Raise unless the model's rollouts have as many steps as are to be compared.

        Raises:
            ValueError: If one may have fewer than ``N_last``.
        """
        self._check_steps(self.nca.inference_timesteps)

    def _check_steps(self, steps: int | tuple[int, int]) -> None:
        fewest = check_timesteps("steps", steps)
        fewest = fewest if isinstance(fewest, int) else fewest[0]
        if self.N_last > fewest:
            raise ValueError(
                f"N_last must be at most the number of steps of a rollout, {fewest}, "
                f"got {self.N_last}"
            )

    def _visit_predictions(self, run: Run, visit: Visit) -> None:
        steps = self.nca.inference_timesteps if run.steps is None else run.steps
        self._check_steps(steps)
        # What the prediction is going to draw from the same seed.
        generator = torch.Generator().manual_seed(run.seed)
        count = interpret_range_parameter(steps, generator=generator)
        with self._bar(count, "step") as bar:

            def watch(step: int, state: Tensor) -> None:
                bar.update()
                if step > count - self.N_last:
                    visit(self.nca.post_prediction(self.nca.read_out(state, step)))

            self.nca.predict(
                run.image,
                steps,
                seed=run.seed,
                samples=run.samples,
                on_step=watch,
                goal=run.goal,
            )
