"""Rollouts: the one place that runs steps, and its engines.

Every engine computes the same mathematics (``reference.py`` is the plainest account of it); they
differ in time and memory only.
"""

import math
from collections.abc import Sequence
from typing import get_args

from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.checks import (
    check_choice,
    check_function,
    check_int,
    check_model,
    check_samples,
    check_state,
)
from ncalab.core.compilation import outside_of_graphs
from ncalab.core.fire import FireClock, check_seed, draw_seed
from ncalab.core.options import Checkpoint, Engine, OnStep, RolloutOptions, total_steps
from ncalab.core.rollout.choice import run, why_not_fused
from ncalab.core.rollout.cpu.threads import ThreadUse, one_thread_for_operations
from ncalab.core.rollout.cuda.graph import clear_cuda_graphs, without_cuda_graphs
from ncalab.core.rollout.tiled import tiled_rollout

__all__ = [
    "Checkpoint",
    "Engine",
    "OnStep",
    "RolloutOptions",
    "ThreadUse",
    "clear_cuda_graphs",
    "one_thread_for_operations",
    "rollout",
    "tiled_rollout",
    "why_not_fused",
    "without_cuda_graphs",
]


@outside_of_graphs
def rollout(
    model: Automaton,
    x: Tensor,
    steps: int | list[int],
    *,
    start: int = 0,
    seed: int | None = None,
    samples: Sequence[int] | None = None,
    engine: Engine = "auto",
    on_step: OnStep | None = None,
    checkpoint: Checkpoint = None,
    goal: Tensor | None = None,
) -> Tensor:
    """Run ``steps`` steps of a model from the state ``x``.

    Two rollouts in a row equal one, if the second continues at ``start`` with the same seed.

    Args:
        model: Model whose rule all cells follow.
        x: States, shape ``(B, C, W, H)``, with all channels of the model; not changed.
        steps: Number of steps, at least 1; of a cascade in all, or a list with the number at each
            scale.
        start: Number of steps that were taken before.
        seed: Decides which cells fire, in ``[0, 2**63)``. Drawn from torch's default CPU
            generator if None.
        samples: Index of each sample, B of them, ``0 ... B - 1`` if None. A sample's fire masks
            depend on the seed and its index, not on the batch around it.
        engine: "auto" (the fastest that serves this rollout), "reference" (step by step) or
            "fused" (the fast engine of the device, or an error).
        on_step: Called after every step with (steps taken so far, state); true ends the rollout.
        checkpoint: What the backward pass keeps. None: the state before every step, and what its
            cells perceived where that is small; the fastest. A number of steps: only every so
            many states; the steps between are taken again. "auto": that number is the root of
            ``steps``, so that memory grows with it.
        goal: Goal of each sample, for a model with ``goal_size``: vectors ``(B, goal_size)``, or
            indices ``(B,)`` with ``num_goals``.

    Returns:
        States after the last step, shape ``(B, C, W, H)``; differentiable.

    Raises:
        TypeError: If ``x`` is not a floating-point tensor or ``steps`` not an integer, or another
            argument is of another type.
        ValueError: If ``x`` is not a state of the model, ``steps`` is below 1, or ``samples``, the
            seed, the engine or ``checkpoint`` is not as described.
    """
    check_model("model", model)
    check_state("x", x, model.num_channels, model.spatial_dims)
    if model.runner is None:
        check_int("steps", steps, minimum=1)
    check_int("start", start, minimum=0)
    check_choice("engine", engine, get_args(Engine))
    samples = check_samples(samples, x.shape[0])
    seed = draw_seed() if seed is None else check_seed(seed)
    if on_step is not None:
        check_function("on_step", on_step)
    if model.runner is not None:
        options = RolloutOptions(
            start=start,
            seed=seed,
            samples=samples,
            engine=engine,
            on_step=on_step,
            checkpoint=checkpoint,
            goal=goal,
        )
        return model.runner.run(x, steps, options)
    count = total_steps(steps)
    segment = segment_length(checkpoint, count)
    vectors = model.encode_goal(goal, len(x))
    clock = FireClock(seed, model.fire_rate, samples, start, count, x.device, goal=vectors)
    return run(model, x, clock, engine, on_step, segment)


def segment_length(checkpoint: Checkpoint, steps: int) -> int | None:
    """Return the number of steps between kept states, None to keep every one.

    >>> segment_length("auto", 64)
    8
    """
    if checkpoint is None:
        return None
    if checkpoint == "auto":
        return math.isqrt(steps - 1) + 1
    return check_int("checkpoint", checkpoint, minimum=1)
