"""The runner of a model whose steps are taken at several scales."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.checks import check_positive_integers
from ncalab.core.multiscale.export import multiscale_plan
from ncalab.core.multiscale.grids import share_steps
from ncalab.core.multiscale.stages import Stage, run_stages
from ncalab.core.options import RolloutOptions, Tile
from ncalab.core.runner import ExportPlan, Runner


@dataclass(frozen=True)
class MultiScale(Runner):
    """Run an automaton at every scale, each from the states that the one before ended with.

    Steps are counted through all scales, so fire masks and the temporal encoding of a scale
    continue where those of the scale before ended.

    Args:
        automata: Automaton of each scale; one may occur several times.
        scales: Size of a cell in pixels at each scale.
        steps: Number of steps at each scale; other numbers are shared out in proportion.
        fixed: Number of channels, the first ones, that steps leave as they are: at every scale
            they are those of the first state, resized.

    >>> import torch
    >>> automaton = Automaton(torch.device("cpu"), 1, 2, 0)
    >>> runner = MultiScale([automaton] * 2, [2, 1], [6, 3], fixed=1)
    >>> runner.share(12), runner.coarse_steps(12)
    ([8, 4], 8)
    """

    automata: Sequence[Automaton]
    scales: Sequence[int]
    steps: Sequence[int]
    fixed: int

    def share(self, steps: int | list[int]) -> list[int]:
        """Return the number of steps at each scale.

        Args:
            steps: Number of steps in all, or already of each scale.

        Raises:
            TypeError: If they are not integers.
            ValueError: If a scale would have no step, or has no number.
        """
        if not isinstance(steps, list):
            return share_steps(steps, self.steps)
        counts = check_positive_integers("steps", steps)
        if len(counts) != len(self.scales):
            raise ValueError(
                "steps must hold one number for each of the scales "
                f"{list(self.scales)}, got {steps}"
            )
        return counts

    def run(
        self, x: Tensor, steps: int | list[int], options: RolloutOptions, tile: Tile = None
    ) -> Tensor:
        """Run all scales; ``on_step`` sees states at full size. See :meth:`Runner.run`."""
        if options["start"] != 0:
            raise ValueError(f"start must be 0 for a cascade, got {options['start']}")
        counts = self.share(steps)
        stages = [Stage(*stage) for stage in zip(self.automata, self.scales, counts, strict=True)]
        return run_stages(x, stages, self.fixed, options, tile)

    def continue_rollout(self, x: Tensor, steps: int, options: RolloutOptions) -> Tensor:
        """Continue at the last scale. See :meth:`Runner.continue_rollout`."""
        stage = Stage(self.automata[-1], self.scales[-1], steps)
        return run_stages(x, [stage], self.fixed, options)

    def coarse_steps(self, steps: int) -> int:
        """Count the steps, out of ``steps``, that are taken before the last scale."""
        return sum(self.share(steps)[:-1])

    def export_plan(self) -> ExportPlan:
        """Return how an exported model goes from scale to scale."""
        return multiscale_plan(self.automata, self.scales, self.steps, self.fixed)
