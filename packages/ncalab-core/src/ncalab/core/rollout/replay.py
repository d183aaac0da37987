"""The rollout of a standard model as a function of states and parameters, for autograd.

It looks at what the rollout was started with, not at the model, which may have changed since.
"""

from functools import partial

import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor

from ncalab.core.alive import alive_mask
from ncalab.core.rollout.spec import RolloutSpec
from ncalab.core.step import change, perceive


def replay(spec: RolloutSpec, segment: int | None, x: Tensor, *parameters: Tensor) -> Tensor:
    """Run the steps of a rollout.

    Args:
        spec: The rollout.
        segment: Steps between the states that are kept for the backward pass; None to keep
            everything.
        x: States, shape ``(B, C, W, H)``.
        *parameters: Filters, first layer's weight and bias, and last layer's weight.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.
    """
    if segment is None:
        return _run(spec, spec.steps, x, *parameters)
    for start in range(spec.steps.start, spec.steps.stop, segment):
        steps = range(start, min(start + segment, spec.steps.stop))
        run = partial(_run, spec, steps)
        x = torch.utils.checkpoint.checkpoint(run, x, *parameters, use_reentrant=False)
    return x


def _run(spec: RolloutSpec, steps: range, x: Tensor, *parameters: Tensor) -> Tensor:
    for step in steps:
        x = _step(spec, step, x, *parameters)
    return x


def _step(
    spec: RolloutSpec,
    step: int,
    x: Tensor,
    filters: Tensor,
    first: Tensor,
    bias: Tensor,
    last: Tensor,
) -> Tensor:
    time = None if spec.times is None else spec.times[step - spec.clock.start]
    perceived = perceive(x, filters, spec.padding, time)
    hidden: Tensor = spec.activation(F.conv2d(perceived, first, bias))
    fires = spec.clock.mask(step, x.shape[2], x.shape[3])
    alive = alive_mask if spec.use_alive_mask else None
    return change(x, F.conv2d(hidden, last), fires, first=spec.first_mutable, alive=alive)
