"""Many rollouts of the same images, as few batches within a bound of working memory."""

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.checks import check_samples
from ncalab.core.fire import check_seed
from ncalab.core.rollout import rollout

# Images of a batch have indices below it; those of the next pass follow.
_STRIDE = 2**32

DEFAULT_MEMORY = 512 * 2**20
"""Working memory of the passes that run as one batch, in bytes."""


class Start(NamedTuple):
    """Start of a rollout of some images.

    Attributes:
        state: States, shape ``(B, C, *grid)``, on the model's device.
        steps: Number of steps to take.
        samples: Index of each image in the fire masks.
        taken: Number of steps that led to the states.
        goal: Goal of each image, for a model that has goals.
    """

    state: Tensor
    steps: int
    samples: Sequence[int]
    taken: int = 0
    goal: Tensor | None = None

    def goes_with(self, other: "Start") -> bool:
        """Say whether both can run in one batch."""
        same_grid = self.state.shape[2:] == other.state.shape[2:]
        return same_grid and (self.steps, self.taken) == (other.steps, other.taken)


def pass_seed(seed: int, index: int) -> int:
    """Return the seed of what a pass draws besides its fire masks: ``seed`` itself for the first.

    >>> pass_seed(7, 0), pass_seed(7, 1) == pass_seed(7, 2)
    (7, False)
    """
    check_seed(seed)
    if index == 0:
        return seed
    word = np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0]
    return int(word) >> 1


def pass_samples(samples: Sequence[int] | None, batch: int, index: int) -> list[int]:
    """Return the indices that the images of a batch have in the fire masks of a pass.

    They depend neither on the size of the batch nor on the number of passes.

    >>> pass_samples(None, 2, 0), pass_samples([5], 1, 3)
    ([0, 1], [12884901893])
    """
    return [sample + index * _STRIDE for sample in check_samples(samples, batch)]


def start_pass(
    nca: AbstractNCAModel,
    image: Tensor,
    index: int,
    steps: int | tuple[int, int] | None,
    seed: int,
    samples: Sequence[int] | None,
    goal: Tensor | None = None,
) -> Start:
    """Return where a pass starts; pass 0 is ``nca.predict(image, steps, seed=seed, goal=goal)``."""
    state, count, _ = nca.start(image, steps, pass_seed(seed, index))
    if isinstance(count, list):
        raise TypeError(f"steps must be an integer or a tuple (min, max), got {steps!r}")
    return Start(state, count, pass_samples(samples, len(state), index), goal=goal)


def run_passes(
    nca: AbstractNCAModel, starts: Iterable[Start], seed: int, memory: int
) -> Iterator[Prediction]:
    """Run passes; neighbours of the same size and number of steps as one batch.

    The result does not depend on how they are grouped, up to rounding.

    Args:
        nca: Model, in evaluation mode; to be called without gradients.
        starts: Where the passes start; each is drawn when it is needed.
        seed: Seed of the fire masks of all passes.
        memory: Bound of a batch's working memory in bytes; a single pass may exceed it.

    Yields:
        Prediction of each pass, in order.
    """
    group: list[Start] = []
    for start in starts:
        full = group and (len(group) + 1) * _working_memory(nca, start.state) > memory
        if full or (group and not start.goes_with(group[0])):
            yield from _run_batch(nca, group, seed)
            group = []
        group.append(start)
    if group:
        yield from _run_batch(nca, group, seed)


def _working_memory(nca: AbstractNCAModel, state: Tensor) -> int:
    """Estimate the bytes that a rollout of these states works on, whatever its engine."""
    batch, channels, *grid = state.shape
    # States, updates and masks of a step in two layouts, what cells perceive before and after it is
    # joined, and so are their neurons: measured for the reference engine, which takes the most.
    cell = 10 * channels + 2 * nca.input_vector_size + 2 * nca.hidden_size
    return batch * math.prod(grid) * cell * state.element_size()


def _run_batch(nca: AbstractNCAModel, group: list[Start], seed: int) -> Iterator[Prediction]:
    state = torch.cat([start.state for start in group])
    samples = [sample for start in group for sample in start.samples]
    steps, taken = group[0].steps, group[0].taken
    goals = [start.goal for start in group if start.goal is not None]
    goal = torch.cat(goals) if goals else None
    if taken:
        state = nca.continue_rollout(
            state, steps, start=taken, seed=seed, samples=samples, goal=goal
        )
    else:
        state = rollout(nca, state, steps, seed=seed, samples=samples, goal=goal)
    for part in state.split([len(start.state) for start in group]):
        yield nca.post_prediction(nca.read_out(part, taken + steps))
