"""Run independent tasks here, one after the other, or through any executor."""

import pickle
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch

from ncalab.core.progress import bar_rows, progress_bar
from ncalab.train.guard import Guard

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Result = TypeVar("Result")

_DISPLAY = "progress display"
# The random generators and the thread count are those of the whole process. Some executors
# (dask.distributed, thread pools) run several tasks of a process at once.
_ONE_AT_A_TIME = threading.RLock()


@dataclass(frozen=True)
class Failure:
    """Error of a task that failed.

    Args:
        error: Type and message.
        details: Traceback of where it was raised.
    """

    error: str
    details: str

    @classmethod
    def of(cls, error: BaseException) -> "Failure":
        """Describe an error, in words that can be sent between processes."""
        return cls(
            f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)).rstrip()
        )


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """Outcome of one task: its result, or the error that it failed with."""

    index: int
    result: Result | None = None
    failure: Failure | None = None


def run_all(
    function: Callable[[Shared, Task], Result],
    shared: Shared,
    tasks: Sequence[Task],
    *,
    executor: Executor | None = None,
    threads: int = 1,
    label: str = "task",
    progress: bool = True,
) -> Iterator[Outcome[Result]]:
    """Call a function on every task; a task that fails does not stop the others.

    Args:
        function: Called as ``function(shared, task)``. For an executor, it must be defined at the
            top level of a module.
        shared: Dataclass of what all tasks need; pickled once. The function leaves it unchanged.
        tasks: Dataclasses, what each needs.
        executor: Where to run them; None for this thread.
        threads: torch's number of threads while a task runs. One sum in other parts is another
            number, so it is the same here and in a worker.
        label: What to call a task in the progress bar.
        progress: Whether to show a bar, or lines where standard error is not a terminal.

    Returns:
        Outcomes, in the order in which the tasks end. The first task begins when they are asked
        for.

    Raises:
        TypeError: At once, if something cannot be sent to a worker.
    """
    run = _run_here(function, shared, tasks, threads)
    if executor is not None:
        # Pickled by this library, not by the executor: a pool of processes would move tensors into
        # shared memory, where all workers would train the same weights.
        packed = pack("function", function), pack("shared", shared)
        run = _run_there(packed, [pack(label, task) for task in tasks], threads, executor)
    return _shown(run, len(tasks), label) if progress else run


def _shown(run: Iterator[Outcome[Result]], total: int, label: str) -> Iterator[Outcome[Result]]:
    """Show a bar in a terminal, lines in a log file; a display that fails stops no task."""
    guard, bar = Guard(), None
    with guard(_DISPLAY):
        if bar_rows():
            bar = progress_bar(total=total, desc=f"{label}s", unit=label)
    try:
        for done, outcome in enumerate(run, start=1):
            with guard(_DISPLAY):
                if bar is not None:
                    bar.update()
                else:
                    _write_line(f"{label} {done}/{total}", outcome)
            yield outcome
    finally:
        with guard(_DISPLAY):
            if bar is not None:
                bar.close()


def _write_line(name: str, outcome: Outcome[Any]) -> None:
    ended = "done" if outcome.failure is None else f"failed: {outcome.failure.error}"
    sys.stderr.write(f"{name} {ended}\n")
    sys.stderr.flush()


def _run_here(
    function: Callable[[Shared, Task], Result],
    shared: Shared,
    tasks: Sequence[Task],
    threads: int,
) -> Iterator[Outcome[Result]]:
    for index, task in enumerate(tasks):
        try:
            with alone(threads):
                result = function(shared, task)
        except Exception as error:
            yield Outcome(index, failure=Failure.of(error))
        else:
            yield Outcome(index, result)


def _run_there(
    packed: tuple[bytes, bytes],
    tasks: Sequence[bytes],
    threads: int,
    executor: Executor,
) -> Iterator[Outcome[Result]]:
    futures: dict[Future[bytes | Failure], int] = {}
    try:
        for index, task in enumerate(tasks):
            try:
                futures[executor.submit(_work, *packed, task, threads)] = index
            except Exception as error:  # the workers may have died of a task before
                yield Outcome(index, failure=Failure.of(error))
        for future in as_completed(futures):
            yield _outcome(futures[future], future)
    finally:
        # After an interruption, what has not begun is not begun.
        for future in futures:
            future.cancel()


def _outcome(index: int, future: Future[bytes | Failure]) -> Outcome[Any]:
    try:
        answer = future.result()
        if isinstance(answer, Failure):
            return Outcome(index, failure=answer)
        return Outcome(index, pickle.loads(answer))
    except Exception as error:  # a worker that died, or an answer that cannot be read
        return Outcome(index, failure=Failure.of(error))


def _work(function: bytes, shared: bytes, task: bytes, threads: int) -> bytes | Failure:
    """Run one task in a worker. All bytes come from the parent process, and go back to it."""
    try:
        with alone(threads):
            call, *arguments = map(pickle.loads, (function, shared, task))
            return pickle.dumps(call(*arguments))
    except Exception as error:
        return Failure.of(error)


@contextmanager
def alone(threads: int) -> Iterator[None]:
    """Run alone in this process, with a number of torch threads, which is put back afterwards."""
    with _ONE_AT_A_TIME:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def pack(name: str, value: Any) -> bytes:
    """Pickle something.

    Args:
        name: What to call it in the error.
        value: Anything.

    Raises:
        TypeError: If it cannot be pickled; the part that cannot is named.
    """
    try:
        return pickle.dumps(value)
    except Exception as error:
        culprit, reason = _culprit(name, value, error)
        raise TypeError(
            f"{culprit} must be picklable to be sent to another process: {reason}; define "
            "functions and classes at the top level of a module, or train without an executor"
        ) from error


def _culprit(name: str, value: Any, error: Exception) -> tuple[str, Exception]:
    """Find the innermost named part that cannot be pickled."""
    parts = value if isinstance(value, dict) else getattr(value, "__dict__", {})
    for key, part in parts.items():
        try:
            pickle.dumps(part)
        except Exception as reason:
            return _culprit(f"{name}.{key}", part, reason)
    return name, error
