"""Shares of a batch, run side by side: samples do not touch each other.

Letting every thread run whole rollouts of its own samples needs no agreement between threads
within a step, keeps a sample in the caches of one core, and took two thirds of the time that one
rollout with two threads in each operation took.
"""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
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


@dataclass
class ThreadUse:
    """Threads of rollouts where operations use one; see :func:`one_thread_for_operations`.

    Attributes:
        threads: Threads that rollouts may use.
        operations_need_threads: Whether a rollout has run that leaves its work, or a part of it,
            to operations of torch that one thread takes longer for.
    """

    threads: int
    operations_need_threads: bool = False


_use: ContextVar[ThreadUse | None] = ContextVar("ncalab_thread_use", default=None)


@contextmanager
def one_thread_for_operations() -> Iterator[ThreadUse]:
    """Let torch's operations use one thread, and rollouts of this thread as many as before.

    With several threads, every operation on some ten thousand numbers ends at a barrier, at which
    its threads spin. Beside another busy process that takes milliseconds each time: the system
    lets one thread spin while the one that it waits for is put aside. Compiled rollouts need no
    such barriers.

    Yields:
        What rollouts do; complete once the block has run a typical one.

    >>> before = torch.get_num_threads()
    >>> with one_thread_for_operations() as use:
    ...     (torch.get_num_threads(), use.threads == before)
    (1, True)
    """
    use = ThreadUse(rollout_threads())
    before = torch.get_num_threads()
    token = _use.set(use)
    torch.set_num_threads(1)
    try:
        yield use
    finally:
        _use.reset(token)
        # Unless somebody has chosen another number meanwhile.
        if torch.get_num_threads() == 1:
            torch.set_num_threads(before)


def rollout_threads() -> int:
    """Return how many threads a rollout may use."""
    use = _use.get()
    return torch.get_num_threads() if use is None else use.threads


def note_operations() -> None:
    """Note that a rollout leaves work to operations of torch that wants several threads."""
    use = _use.get()
    if use is not None:
        use.operations_need_threads = True


def shares_of(batch: int, cells: int) -> list[slice]:
    """Split a batch between the threads that a rollout may use.

    Args:
        batch: Number of samples.
        cells: Number of cells of a sample that need work.

    Returns:
        Slices of the batch: several for one thread each, or one for all threads together.
    """
    threads = rollout_threads()
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
