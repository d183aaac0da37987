"""Small rollouts without gradients as CUDA graphs.

A step of a small grid takes the GPU less time than Python and the driver need to launch it. A CUDA
graph is a recording of all launches of a rollout, launched as one. It reads and writes fixed
memory: states, fire keys and times are copied in, the states after the last step are copied out,
and the parameters are read where they are, so that their current values count.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

logger = logging.getLogger(__name__)

Inputs = tuple[Tensor, ...]
Function = Callable[..., Tensor]

# Beyond that many cells the GPU is busy longer than a launch takes; not measured yet.
MOST_CELLS = 2**18
# Each graph keeps its states and parameters' copies on the device.
MOST_GRAPHS = 8
# Rollouts that were seen once; only what comes back is worth a recording.
MOST_SEEN = 64

_allowed: ContextVar[bool] = ContextVar("ncalab_cuda_graphs", default=True)


@contextmanager
def without_cuda_graphs() -> Iterator[None]:
    """Record and replay no CUDA graphs within this block, in this thread.

    Use it where the device's memory is managed in another way (``torch.cuda.use_mem_pool``), or to
    see the kernels of a rollout in a profiler one by one.
    """
    token = _allowed.set(False)
    try:
        yield
    finally:
        _allowed.reset(token)


class Recording:
    """A function on tensors as a CUDA graph.

    Args:
        function: Launches work on the current stream; must have run before, so that its kernels
            are compiled.
        inputs: Tensors on the device, to size the inputs by.
    """

    def __init__(self, function: Function, inputs: Inputs) -> None:
        # The tables that the function refers to must live as long as the graph.
        self._function = function
        self._lock = threading.Lock()
        self._graph = torch.cuda.CUDAGraph()
        # Otherwise a recording made in inference mode could not be used outside of it.
        with torch.inference_mode(False), torch.no_grad():
            self._inputs = tuple(torch.empty_like(value).copy_(value) for value in inputs)
            # torch's own capture stream belongs to one device. Other threads may run meanwhile.
            stream = torch.cuda.Stream()
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._output = function(*self._inputs)
        self._done = torch.cuda.Event()
        self._done.record()

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Copy the inputs in, launch the graph, and copy its output out."""
        with self._lock:
            # Another thread's stream may still be reading the output.
            self._done.wait()
            for fixed, value in zip(self._inputs, inputs, strict=True):
                fixed.copy_(value)
            self._graph.replay()
            output = self._output.clone()
            self._done.record()
        return output


class Cache:
    """The recordings of this process, the least recently used dropped first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: OrderedDict[Hashable, None] = OrderedDict()
        self._recordings: OrderedDict[Hashable, Recording | None] = OrderedDict()

    def get(self, key: Hashable, function: Function, inputs: Inputs) -> Recording | None:
        """Return the recording of a key, made when the key is seen for the second time."""
        with self._lock:
            if key in self._recordings:
                self._recordings.move_to_end(key)
                return self._recordings[key]
            if key not in self._seen:
                self._remember(self._seen, key, None, MOST_SEEN)
                return None
            del self._seen[key]  # once dropped, it must come back twice again
            recording = self._record(function, inputs)
            self._remember(self._recordings, key, recording, MOST_GRAPHS)
            return recording

    def clear(self) -> None:
        """Drop all recordings and their memory."""
        with self._lock:
            self._seen.clear()
            self._recordings.clear()

    @staticmethod
    def _record(function: Function, inputs: Inputs) -> Recording | None:
        try:
            return Recording(function, inputs)
        except RuntimeError as error:
            logger.warning("a rollout runs without a CUDA graph, recording it failed: %s", error)
            return None

    @staticmethod
    def _remember(
        cache: OrderedDict[Hashable, Any], key: Hashable, value: object, most: int
    ) -> None:
        cache[key] = value
        if len(cache) > most:
            cache.popitem(last=False)


_cache = Cache()


def clear_cuda_graphs() -> None:
    """Free the memory of all recorded CUDA graphs."""
    _cache.clear()


def run(key: Hashable, function: Function, inputs: Inputs, *, cells: int) -> Tensor:
    """Call a function, or replay its recording.

    Args:
        key: Equal for calls that launch the same work on the same memory, inputs and output apart.
        function: Launches work on the current stream of the inputs' device; returns a new tensor.
        inputs: What it is called with.
        cells: Number of cells that it works on.

    Returns:
        What the function returns.
    """
    if not _worthwhile(inputs[0], cells):
        return function(*inputs)
    recording = _cache.get(key, function, inputs)
    return function(*inputs) if recording is None else recording(*inputs)


def _worthwhile(x: Tensor, cells: int) -> bool:
    if not (x.is_cuda and _allowed.get() and cells <= MOST_CELLS):
        return False
    # Work that is being recorded becomes part of that recording.
    return not torch.cuda.is_current_stream_capturing()
