"""In which order an exported model takes its steps, and what happens between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ncalab.core.automaton import Automaton


def _stay(place: int, state: Tensor, x: Tensor) -> Tensor:  # noqa: ARG001 - for those who move
    return state


def _finish(state: Tensor, x: Tensor) -> Tensor:  # noqa: ARG001
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
