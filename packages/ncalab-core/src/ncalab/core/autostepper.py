"""Let the automaton itself decide when it is done: stop when its cells fall silent."""

import logging
from typing import Any

import torch
from torch import Tensor

from ncalab.core.checks import check_batch, check_flag, check_int, check_model, check_non_negative
from ncalab.core.model import AbstractNCAModel
from ncalab.core.prediction import Prediction

logger = logging.getLogger(__name__)


class AutoStepper:
    """Run a model until its hidden channels have been calm for a number of steps.

    Args:
        min_steps: Number of steps that are always run, at least 1.
        max_steps: Number of steps after which to stop in any case, more than ``min_steps``.
        plateau: Number of calm steps in a row that end the rollout, at least 1.
        verbose: Whether to log (level INFO) when a rollout is ended early.
        threshold: A step is calm if its score is below this, at least 0.

    Raises:
        TypeError: If an argument is of another type.
        ValueError: If a number is out of its range.
    """

    def __init__(
        self,
        min_steps: int = 10,
        max_steps: int = 100,
        plateau: int = 5,
        verbose: bool = False,
        threshold: float = 0.01,
    ) -> None:
        self.min_steps = check_int("min_steps", min_steps, minimum=1)
        self.max_steps = check_int("max_steps", max_steps, minimum=1)
        if self.max_steps <= self.min_steps:
            raise ValueError(
                f"max_steps must be more than min_steps = {min_steps}, got {max_steps}"
            )
        self.plateau = check_int("plateau", plateau, minimum=1)
        check_non_negative("threshold", threshold)
        self.verbose = check_flag("verbose", verbose)
        self.threshold = threshold
        self.cooldown = 0
        self.hidden_i: Tensor | None = None
        self.hidden_i_1: Tensor | None = None

    def _score(self) -> Tensor:
        """Measure the activity of the last step.

        Returns:
            Mean absolute change of the hidden channels in one step, of the most active sample,
            shape ``()``; infinite before there are two states.
        """
        if self.hidden_i is None or self.hidden_i_1 is None:
            return torch.tensor(torch.inf)
        change = (self.hidden_i - self.hidden_i_1).abs()
        return change.flatten(start_dim=1).mean(dim=1).amax()

    def _check(self, step: int) -> bool:
        """Decide whether to stop after ``step`` steps.

        Args:
            step: Number of steps taken so far.

        Returns:
            True once ``plateau`` steps in a row were calm and ``min_steps`` are done.
        """
        self.cooldown = self.cooldown + 1 if bool(self._score() < self.threshold) else 0
        done = self.cooldown >= self.plateau and step >= self.min_steps
        if done and self.verbose:
            logger.info("calm for %d steps, stopped after step %d", self.cooldown, step)
        return done

    def run(
        self,
        nca: AbstractNCAModel,
        x: Tensor,
        *,
        seed: int | None = None,
        goal: Tensor | None = None,
    ) -> Prediction:
        """Predict with as many steps as the activity asks for.

        Args:
            nca: Model; one without hidden channels is judged by all its channels.
            x: Images ``(B, image channels, W, H)`` or states ``(B, C, W, H)``.
            seed: Seed of padding noise and fire masks, drawn if None.
            goal: Goal of each sample, as in :meth:`AbstractNCAModel.predict`.

        Returns:
            Prediction after the last step taken; its ``steps`` says which one that was. It equals
            that of ``nca.predict`` with this seed and number of steps. Of a cascade, the coarse
            scales run in full, as in ``nca.predict(x, max_steps)``; the last one may end early.
        """
        check_model("nca", nca)
        check_batch("x", x, nca.spatial_dims)
        self.cooldown = 0
        self.hidden_i = self.hidden_i_1 = None
        coarse = 0 if nca.runner is None else nca.runner.coarse_steps(self.max_steps)

        def observe(step: int, state: Tensor) -> bool:
            self.hidden_i_1 = self.hidden_i
            self.hidden_i = state[:, nca.channels.hidden] if nca.num_hidden_channels else state
            return step > coarse and self._check(step)

        return nca.predict(x, self.max_steps, seed=seed, on_step=observe, goal=goal)

    def __call__(self, *args: Any, **kwargs: Any) -> Prediction:
        """Return :meth:`run` of the arguments."""
        return self.run(*args, **kwargs)
