"""Shares of a batch, run side by side: samples do not touch each other.

Letting every thread run whole rollouts of its own samples needs no agreement between threads
within a step, keeps a sample in the caches of one core, and took two thirds of the time that one
rollout with two threads in each operation took.
"""

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import TypeVar

import torch

# Below that many cells a share, Python, which runs one thread at a time, takes most of the time.
LEAST_CELLS = 4096
# The largest share may be that much larger than the average.
UNEVEN = 4 / 3

Share = TypeVar("Share")
Result = TypeVar("Result")


def shares_of(batch: int, cells: int) -> list[slice]:
    """Split a batch between the threads that torch may use.

    Args:
        batch: Number of samples.
        cells: Number of cells of a sample that need work.

    Returns:
        Slices of the batch: several for one thread each, or one for all threads together.
    """
    threads = torch.get_num_threads()
    largest = -(-batch // threads)
    if threads == 1 or largest * threads > UNEVEN * batch or largest * cells < LEAST_CELLS:
        return [slice(0, batch)]
    bounds = [i * batch // threads for i in range(threads + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def run_shares(
    function: Callable[[Share], Result], shares: Sequence[Share], threads: int | None = None
) -> list[Result]:
    """Call a function with every share, in several threads; results keep the order of the shares.

    Args:
        function: What to call.
        shares: Its arguments; a thread that is done takes the next one.
        threads: Number of threads; one for each share if None.
    """
    threads = len(shares) if threads is None else min(threads, len(shares))
    if threads <= 1:
        return [function(share) for share in shares]
    return list(_threads(threads).map(function, shares))


def run_together(function: Callable[[], object], threads: int) -> None:
    """Call a function in this thread and, as far as they are free, in others at the same time.

    Args:
        function: What to call; it must do all the work also where no other thread comes.
        threads: Number of threads, this one included.
    """
    helpers = [_threads(threads).submit(function) for _ in range(threads - 1)]
    try:
        function()
    finally:
        for helper in helpers:
            # One that has not begun is not needed any more.
            if not helper.cancel():
                helper.result()


def _threads(count: int) -> ThreadPoolExecutor:
    with _starting:
        # A thread does not outlive a fork.
        return _pool(count, os.getpid())


_starting = threading.Lock()


@lru_cache(maxsize=1)
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    """Start threads whose operations use one thread each."""
    del process
    ready = threading.Barrier(threads + 1)

    def start() -> None:
        # Without asking first, torch would reset the number at the first operation.
        torch.get_num_threads()
        torch.set_num_threads(1)
        ready.wait()

    before = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "ncalab-rollout", start)
    for _ in range(threads):
        pool.submit(bool)
    ready.wait()
    # What a worker sets for itself became the default of threads that start later.
    torch.set_num_threads(before)
    return pool
