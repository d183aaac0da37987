"""Call several callbacks, and those of a user with care."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import torch

from ncalab.train.callbacks.callback import EVENTS, BatchResult, Callback, EpochResult, Training
from ncalab.train.random_state import unchanged_random_state

logger = logging.getLogger(__name__)


class CallbackList(Callback):
    """Several callbacks as one; each event calls those that override its method.

    Args:
        callbacks: The callbacks, in the order in which they are called; None stands for none.
    """

    def __init__(self, callbacks: Iterable[Callback | None]) -> None:
        self.callbacks = [each for each in callbacks if each is not None]
        self._called = {
            event: [each for each in self.callbacks if _overrides(each, event)] for event in EVENTS
        }

    def _emit(self, event: str, *arguments: Any) -> None:
        for callback in self._called[event]:
            self._call(callback, event, *arguments)

    def _call(self, callback: Callback, event: str, *arguments: Any) -> None:
        getattr(callback, event)(*arguments)

    def on_start(self, training: Training) -> None:
        """Call every callback."""
        self._emit("on_start", training)

    def on_epoch_start(self, training: Training, number: int) -> None:
        """Call every callback."""
        self._emit("on_epoch_start", training, number)

    def on_batch_end(self, training: Training, batch: BatchResult) -> None:
        """Call every callback."""
        self._emit("on_batch_end", training, batch)

    def on_epoch_end(self, training: Training, epoch: EpochResult) -> None:
        """Call every callback."""
        self._emit("on_epoch_end", training, epoch)

    def on_save(self, training: Training) -> None:
        """Call every callback."""
        self._emit("on_save", training)

    def on_end(self, training: Training) -> None:
        """Call every callback."""
        self._emit("on_end", training)


class UserCallbacks(CallbackList):
    """Callbacks of a user: an error names the callback, and no random draw changes the training.

    Args:
        callbacks: The callbacks.
        generators: Generators that the training draws from, beside the global ones.
    """

    def __init__(
        self, callbacks: Iterable[Callback], generators: Sequence[torch.Generator] = ()
    ) -> None:
        super().__init__(callbacks)
        self.generators = generators
        self.names = _distinct([type(each).__name__ for each in self.callbacks])

    def _call(self, callback: Callback, event: str, *arguments: Any) -> None:
        with unchanged_random_state(self.generators):
            try:
                super()._call(callback, event, *arguments)
            except Exception as error:
                raise _failure(callback, event, error) from error

    def on_end(self, training: Training) -> None:
        """Call every callback, the others of one that fails as well.

        After an error that ended the training, errors are logged: that one is raised.
        """
        failures = []
        for callback in self._called["on_end"]:
            try:
                self._call(callback, "on_end", training)
            except RuntimeError as error:
                failures.append(error)
        first = 0 if training.status == "failed" else 1
        for failure in failures[first:]:
            logger.warning("%s", failure)
        if failures and first:
            raise failures[0]

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all callbacks that have one, by the names of their classes."""
        states = {}
        for name, callback in zip(self.names, self.callbacks, strict=True):
            try:
                states[name] = callback.state_dict()
            except Exception as error:
                raise _failure(callback, "state_dict", error) from error
        return {name: state for name, state in states.items() if state}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the states of all callbacks that have one."""
        if unknown := sorted(state.keys() - set(self.names)):
            logger.warning(
                "the run was saved with callbacks that are not given now, whose state is dropped: "
                "%s",
                ", ".join(unknown),
            )
        for name, callback in zip(self.names, self.callbacks, strict=True):
            if name in state:
                try:
                    callback.load_state_dict(state[name])
                except Exception as error:
                    raise _failure(callback, "load_state_dict", error) from error


def check_callbacks(callbacks: Any) -> list[Callback]:
    """Return callbacks as a list.

    Raises:
        TypeError: If they are not a list of Callback objects.
        ValueError: If one is listed twice.
    """
    if not isinstance(callbacks, list | tuple):
        kind = type(callbacks).__name__
        raise TypeError(f"callbacks must be a list of Callback objects, got {kind}")
    for callback in callbacks:
        if not isinstance(callback, Callback):
            is_class = isinstance(callback, type)
            got = f"the class {callback.__name__}" if is_class else type(callback).__name__
            raise TypeError(f"callbacks must be a list of Callback objects, got {got} in it")
    if len({id(callback) for callback in callbacks}) < len(callbacks):
        raise ValueError("callbacks must list each object once, got one more than once")
    return list(callbacks)


def _overrides(callback: Callback, event: str) -> bool:
    method = getattr(callback, event)
    return getattr(method, "__func__", method) is not getattr(Callback, event)


def _failure(callback: Callback, method: str, error: Exception) -> RuntimeError:
    name = type(callback).__name__
    text = " ".join(str(error).split())
    return RuntimeError(
        f"callback {name} must not raise an error, got one in {method}: "
        f"{type(error).__name__}: {text}"
    )


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names with a number after those that come again.

    >>> _distinct(["Log", "Plot", "Log"])
    ['Log', 'Plot', 'Log 2']
    """
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(name if seen[name] == 1 else f"{name} {seen[name]}")
    return distinct
