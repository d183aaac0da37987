"""Ctrl-C between two steps, never within one."""

import math
import signal
import threading
from time import monotonic
from types import FrameType, TracebackType
from typing import Self

# What runs the program may pass on the signal that the terminal has sent to both already, and a key
# that is held down repeats it: within so many seconds, it is the same Ctrl-C.
_SAME = 1.0
_AT_ONCE = 3


class HeldInterrupts:
    """While in force, hold Ctrl-C back wherever the training's state is in between.

    A second Ctrl-C does not undo what the first one asked for: the step is taken and the training
    is saved. The third one is never held back. Without effect outside the main thread (where no
    signal arrives) and where the program handles Ctrl-C itself.
    """

    def __init__(self) -> None:
        self.held = False
        self._ending = self._pending = False
        self._count, self._last = 0, -math.inf
        self._installed = False

    def __enter__(self) -> Self:
        main = threading.current_thread() is threading.main_thread()
        if main and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._handle)
            self._installed = True
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        now = monotonic()
        if now - self._last < _SAME:
            return
        self._last = now
        self._count += 1
        if self._count >= _AT_ONCE or not (self.held or self._ending):
            raise KeyboardInterrupt
        self._pending = True

    def hold(self) -> None:
        """Hold Ctrl-C back from now on."""
        self.held = True

    def release(self) -> None:
        """Raise the Ctrl-C that was held back, if there was one and the training is not ending.

        Raises:
            KeyboardInterrupt: If so.
        """
        self.held = False
        if self._pending and not self._ending:
            self._pending = False
            raise KeyboardInterrupt

    def end(self) -> None:
        """Hold Ctrl-C back to the end: the training is ending already."""
        self._ending = True
