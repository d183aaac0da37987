"""Names of classes, short enough for a figure."""

from collections.abc import Sequence
from typing import Any

from ncalab.core.checks import check_int


def abbreviate_label(L: Any, max_len: int = 8) -> str:  # noqa: N803 - the documented name
    """Shorten a name to a number of characters.

    Args:
        L: Name; anything else is taken as its text.
        max_len: Number of characters, at least 1.

    Returns:
        The name, or its beginning and an ellipsis, ``max_len`` characters in all.

    Raises:
        TypeError: If ``max_len`` is no integer.
        ValueError: If it is below 1.

    >>> abbreviate_label("cat"), abbreviate_label("hippopotamus")
    ('cat', 'hippopo…')
    """
    check_int("max_len", max_len, minimum=1)
    text = str(L)
    return text if len(text) <= max_len else text[: max_len - 1].rstrip() + "…"


def class_labels(names: Sequence[str] | None, count: int, max_len: int = 8) -> list[str]:
    """Return a short name for each of ``count`` classes: its number if it has none.

    >>> class_labels(["cat", "hippopotamus"], 3)
    ['cat', 'hippopo…', '2']
    """
    known = [] if names is None else list(names)[:count]
    return [
        abbreviate_label(known[place] if place < len(known) else place, max_len)
        for place in range(count)
    ]
