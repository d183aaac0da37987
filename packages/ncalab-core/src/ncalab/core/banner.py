"""Banner and mascot, printed on request."""

import textwrap

from ncalab.core.checks import check_type

_BANNER = r"""
  _ __   ___ __ _  | | __ _| |__
 | '_ \ / __/ _` | | |/ _` | '_ \
 | | | | (_| (_| | | | (_| | |_) |
 |_| |_|\___\__,_| |_|\__,_|_.__/
 Neural Cellular Automata for PyTorch
"""

_MASCOT = r"""
    \
     \   .--.     .--.
        ( o  )___( o  )
         \  \_____/  /
      ____\_________/____
     /__/  |  |  |  |  \__\
"""

_BUBBLE_WIDTH = 60


def print_NCALab_banner() -> None:  # noqa: N802 - the documented name
    """Print the name of the library in large letters."""
    print(_BANNER)


def speech_bubble(message: str, width: int = _BUBBLE_WIDTH) -> str:
    """Draw a box around ``message``, its lines wrapped to ``width`` characters.

    >>> print(speech_bubble("Hi"))
     ____
    | Hi |
     ----
    """
    lines = [part for line in message.splitlines() for part in textwrap.wrap(line, width) or [""]]
    inner = max(map(len, lines), default=0)
    body = [f"| {line:<{inner}} |" for line in lines or [""]]
    return "\n".join([f" {'_' * (inner + 2)}", *body, f" {'-' * (inner + 2)}"])


def print_mascot(message: str) -> None:
    """Print the mascot with ``message`` in its speech bubble.

    Args:
        message: What it says; long lines are wrapped.

    Raises:
        TypeError: If it is not a string.
    """
    check_type("message", message, str)
    print(speech_bubble(message) + _MASCOT)
