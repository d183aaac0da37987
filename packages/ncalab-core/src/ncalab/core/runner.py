"""Runner of a model that is several automata, and the plan of its export."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.options import RolloutOptions, Tile


def _stay(place: int, state: Tensor, x: Tensor) -> Tensor:  # noqa: ARG001 - for those who move
    return state


def _finish(state: Tensor, x: Tensor) -> Tensor:  # noqa: ARG001 - for those who resize
    return state


def _all_steps(steps: Tensor) -> list[Tensor]:
    return [steps]


@dataclass(frozen=True)
class ExportPlan:
    """A rollout, or a chain of them, made of operations on tensors only.

    Args:
        models: Models whose steps are taken, in this order; one may occur several times.
        enter: From (place in ``models``, state, first state of all) to the state that the
            rollout of that place starts from.
        leave: From (state, first state of all) to the state at the end.
        share: From the number of steps, shape ``()``, int64, to that of each place.
    """

    models: Sequence[Automaton]
    enter: Callable[[int, Tensor, Tensor], Tensor] = _stay
    leave: Callable[[Tensor, Tensor], Tensor] = _finish
    share: Callable[[Tensor], list[Tensor]] = _all_steps


class Runner(ABC):
    """Runs the steps of a model that is several automata, one after the other.

    A model names its runner in :attr:`ncalab.core.AbstractNCAModel.runner`.
    """

    @abstractmethod
    def run(
        self, x: Tensor, steps: int | list[int], options: RolloutOptions, tile: Tile = None
    ) -> Tensor:
        """Run steps.

        Args:
            x: States, shape ``(B, C, W, H)``; not changed.
            steps: Number of steps in all, or of each automaton.
            options: Further arguments of the rollouts.
            tile: How many columns of a grid to run at a time, or "auto"; None for all, the only
                choice with gradients or ``on_step``.

        Returns:
            States after the last step, shape ``(B, C, W, H)``.

        Raises:
            TypeError: If ``steps`` are not integers.
            ValueError: If there are too few of them.
        """

    @abstractmethod
    def continue_rollout(self, x: Tensor, steps: int, options: RolloutOptions) -> Tensor:
        """Continue a rollout of ``options["start"]`` steps, with the last automaton.

        Args:
            x: States after those steps, shape ``(B, C, W, H)``; not changed.
            steps: Number of steps to take.
            options: Further arguments of the rollout.

        Returns:
            States after the last step, shape ``(B, C, W, H)``.
        """

    @abstractmethod
    def coarse_steps(self, steps: int) -> int:
        """Count the steps, out of ``steps``, that are taken before the last automaton begins."""

    @abstractmethod
    def export_plan(self) -> ExportPlan:
        """Return how an exported model takes its steps, as operations on tensors."""
