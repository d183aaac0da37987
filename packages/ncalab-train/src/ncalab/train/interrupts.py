"""Ctrl-C between two steps, never within one."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class HeldInterrupts:
    """While in force, hold Ctrl-C back wherever the training's state is in between.

    A second Ctrl-C is never held back. Without effect outside the main thread (where no signal
    arrives) and where the program handles Ctrl-C itself.
    """

    def __init__(self) -> None:
        self.held = False
        self._pending = False
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
        if self.held and not self._pending:
            self._pending = True
        else:
            raise KeyboardInterrupt

    def hold(self) -> None:
        """Hold Ctrl-C back from now on."""
        self.held = True

    def release(self) -> None:
        """Raise the Ctrl-C that was held back, if there was one.

        Raises:
            KeyboardInterrupt: If so.
        """
        self.held = False
        if self._pending:
            self._pending = False
            raise KeyboardInterrupt
