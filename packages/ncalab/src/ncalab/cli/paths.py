"""Paths as users write them."""

import os


def expand_home(path: str | os.PathLike[str]) -> str:
    """Replace a ``~`` at the beginning of a path by the home folder.

    The shell does so only where a word begins with it, and never in a file.

    >>> expand_home("runs/~a")
    'runs/~a'
    """
    # Path's raises where there is no such user, but ~old.png is a good name for a file.
    return os.path.expanduser(path)  # noqa: PTH111
