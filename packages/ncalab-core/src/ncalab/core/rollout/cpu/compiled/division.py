"""Division of the work of a rollout between threads.

Threads run whole rollouts of some samples each, and take the next samples when they are done: no
thread waits for another within a step, and one that the system has put aside is given less to do.
What is left over, too few samples for every thread to have one, is cut into bands.
"""

from itertools import pairwise
from math import prod
from typing import NamedTuple

from torch import Tensor

from ncalab.core.rollout.cpu.compiled.spec import TapSpec
from ncalab.core.rollout.cpu.threads import rollout_threads

# Cells of a group: fewer take less time than it takes to start a task.
GROUP_CELLS = 1024
# Cells, times steps, below which another thread is not worth it: the one that torch's operations
# used just before spins for milliseconds, and takes a core from it.
ONE_THREAD = 65_536
# Cells of a sample, and of one of its bands, for which bands are worth while.
BANDED_CELLS = 4096
BAND_CELLS = 1024
# Bands for each thread: one that is done early takes another.
BANDS_EACH = 2


class Division(NamedTuple):
    """Division of a batch into tasks.

    Attributes:
        threads: Number of threads.
        groups: Samples of the tasks that one thread does each.
        banded: Samples that all threads work on together, one after the other.
        bands: Bands of each of those.
    """

    threads: int
    groups: list[slice]
    banded: list[slice]
    bands: int


def divide(spec: TapSpec, x: Tensor, cells: int) -> Division:
    """Divide a batch of states ``(B, C, *grid)`` between the threads that a rollout may use.

    Args:
        spec: The rollout.
        x: States.
        cells: Cells of a sample that need work.
    """
    batch, threads = x.shape[0], rollout_threads()
    if cells * batch * spec.steps < ONE_THREAD:
        threads = 1
    size = max(1, min(GROUP_CELLS // max(cells, 1), -(-batch // threads)))
    groups = [slice(start, min(start + size, batch)) for start in range(0, batch, size)]
    left = len(groups) % threads
    bands = _bands(spec, x, threads)
    if not left or size > 1 or bands < threads or cells < BANDED_CELLS:
        return Division(threads, groups, [], 1)
    return Division(threads, groups[:-left], groups[-left:], bands)


def _bands(spec: TapSpec, x: Tensor, threads: int) -> int:
    """Return into how many bands a sample may be cut; 1 if it must stay whole."""
    if spec.use_alive_mask or threads == 1:
        return 1
    width, cells = x.shape[2], prod(x.shape[2:])
    # Half a band must be wider than what its cells reach.
    narrowest = max(4 * spec.radius, 2)
    return max(1, min(BANDS_EACH * threads, cells // BAND_CELLS, width // narrowest))


def divide_evenly(spec: TapSpec, x: Tensor, cells: int) -> Division:
    """Divide a batch into one group for each thread.

    Args:
        spec: The rollout.
        x: States, shape ``(B, C, *grid)``.
        cells: Cells of a sample that need work.
    """
    batch = x.shape[0]
    threads = min(rollout_threads(), batch)
    if cells * batch * spec.steps < ONE_THREAD:
        threads = 1
    bounds = [batch * n // threads for n in range(threads + 1)]
    return Division(threads, [slice(a, b) for a, b in pairwise(bounds)], [], 1)
