"""Time each kind of work of compiled rollouts, for benchmarks."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

# The order of ``Kind`` in native/timing.h.
KINDS = (
    "listing",
    "perception",
    "products",
    "activation",
    "filters back",
    "states",
    "alive mask",
    "frame",
)
_timed: ContextVar[list[Tensor] | None] = ContextVar("ncalab_timed", default=None)


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Measure the compiled rollouts that are begun in a block, in this thread.

    The backward pass is timed if it is run in the block, too, by one thread.

    Yields:
        Processor seconds by kind of work, filled in at the end: the sum over all threads.
    """
    seconds: dict[str, float] = {}
    counters: list[Tensor] = []
    token = _timed.set(counters)
    try:
        yield seconds
    finally:
        _timed.reset(token)
        total = sum(counters, torch.zeros(len(KINDS), dtype=torch.int64)).tolist()
        seconds.update({kind: spent / 1e9 for kind, spent in zip(KINDS, total, strict=True)})


def new_counter() -> Tensor | None:
    """Return where a group counts its nanoseconds; None if nobody measures."""
    counters = _timed.get()
    if counters is None:
        return None
    counters.append(torch.zeros(len(KINDS), dtype=torch.int64))
    return counters[-1]
