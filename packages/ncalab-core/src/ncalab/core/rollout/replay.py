"""The rollout of a standard model as a function of states and parameters, for autograd.

It looks at what the rollout was started with, not at the model, which may have changed since.
"""

from functools import partial

import torch.nn.functional as F
import torch.utils.checkpoint
from torch import Tensor

from ncalab.core.alive import alive_mask
from ncalab.core.rollout.job import Job
from ncalab.core.step import change, perceive


def replay(job: Job, segment: int | None, x: Tensor, *parameters: Tensor) -> Tensor:
    """Run the steps of a rollout.

    Args:
        job: The rollout.
        segment: Steps between the states that are kept for the backward pass; None to keep
            everything.
        x: States, shape ``(B, C, W, H)``.
        *parameters: Filters, first layer's weight and bias, and last layer's weight.

    Returns:
        States after the last step, shape ``(B, C, W, H)``.
    """
    if segment is None:
        return _run(job, job.steps, x, *parameters)
    for start in range(job.steps.start, job.steps.stop, segment):
        steps = range(start, min(start + segment, job.steps.stop))
        run = partial(_run, job, steps)
        x = torch.utils.checkpoint.checkpoint(run, x, *parameters, use_reentrant=False)
    return x


def _run(job: Job, steps: range, x: Tensor, *parameters: Tensor) -> Tensor:
    for step in steps:
        x = _step(job, step, x, *parameters)
    return x


def _step(
    job: Job, step: int, x: Tensor, filters: Tensor, first: Tensor, bias: Tensor, last: Tensor
) -> Tensor:
    time = None if job.times is None else job.times[step - job.clock.start]
    perceived = perceive(x, filters, job.padding, time)
    hidden: Tensor = job.activation(F.conv2d(perceived, first, bias))
    fires = job.clock.mask(step, x.shape[2], x.shape[3])
    alive = alive_mask if job.use_alive_mask else None
    return change(x, F.conv2d(hidden, last), fires, first=job.first_mutable, alive=alive)
