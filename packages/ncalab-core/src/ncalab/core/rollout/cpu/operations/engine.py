"""The CPU engine: the steps of the reference, in the order that suits a processor's caches.

What makes it fast (``nox -s bench`` measures how much):

- the state is kept channels-last, where a depthwise convolution takes a tenth of the time and a
  cell's channels are one row of memory;
- only cells that fire (and, with an alive mask, only those near a living one) are gathered and go
  through the two matrix products;
- the grid is worked on in blocks whose perception and hidden neurons never leave the cache;
- with an alive mask, a step works on a box around the living cells, not on the whole grid;
- a rollout is one autograd node: it keeps the state before each step, or, checkpointed, before
  each segment of steps, and recomputes the rest.
"""

import torch
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.fire import FireClock
from ncalab.core.options import OnStep
from ncalab.core.rollout.cpu.operations.backward import Rollout
from ncalab.core.rollout.cpu.operations.stepper import Stepper, make_shares
from ncalab.core.rollout.cpu.threads import run_shares
from ncalab.core.rollout.spec import RolloutSpec, Weights, parameters_of


def run(
    model: Automaton,
    x: Tensor,
    clock: FireClock,
    on_step: OnStep | None = None,
    segment: int | None = None,
) -> Tensor:
    """Run the steps of ``clock`` for a standard model on the CPU.

    Args:
        model: Model that :func:`ncalab.core.rollout.standard.why_not_standard` accepts.
        x: States, shape ``(B, C, W, H)``; not changed.
        clock: Which steps to run, and which cells fire in them.
        on_step: Called with (number of steps taken so far, state); true ends the rollout. Only
            without gradients.
        segment: Steps between the states that are kept for the backward pass, which takes the
            steps again from them; None to keep what every step needs.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.
    """
    spec, parameters = RolloutSpec.from_model(model, clock), parameters_of(model)
    if torch.is_grad_enabled() and any(p.requires_grad for p in (x, *parameters)):
        result: Tensor = Rollout.apply(spec, segment, x, *parameters)  # type: ignore[no-untyped-call]  # torch leaves it untyped
        return result
    with torch.no_grad():
        weights = Weights.from_parameters(spec, *parameters)
        shares = make_shares(spec, x)
        if on_step is None:
            return torch.cat(run_shares(lambda share: _finish(*share, weights), shares))
        return _watch([Stepper.begin(*share, weights) for share in shares], spec, on_step)


def _finish(spec: RolloutSpec, x: Tensor, weights: Weights) -> Tensor:
    with torch.no_grad():
        stepper = Stepper.begin(spec, x, weights)
        for step in spec.steps:
            stepper.step(step)
        return stepper.state()


def _watch(steppers: list[Stepper], spec: RolloutSpec, on_step: OnStep) -> Tensor:
    """Run the shares step by step, so that every state can be seen."""

    def take(stepper: Stepper) -> Tensor:
        with torch.no_grad():
            stepper.step(step)
            return stepper.state()

    for step in spec.steps:
        state = torch.cat(run_shares(take, steppers))
        if on_step(step + 1, state):
            break
    return state
