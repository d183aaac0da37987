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
        The name if it is short enough; else the initials of its words, which blanks separate, or
        underscores if there are no blanks; of a single word its beginning and an ellipsis. At
        most ``max_len`` characters.

    Raises:
        TypeError: If ``max_len`` is not an integer.
        ValueError: If it is below 1.

    >>> abbreviate_label("cat"), abbreviate_label("hippopotamus")
    ('cat', 'hippopo…')
    >>> abbreviate_label("hello world", 6), abbreviate_label("left_ventricle")
    ('HW', 'LV')
    """
    check_int("max_len", max_len, minimum=1)
    text = str(L)
    if len(text) <= max_len:
        return text
    words = _words(text)
    return cut(text if len(words) < 2 else "".join(word[0].upper() for word in words), max_len)


def _words(text: str) -> list[str]:
    words = text.split()
    return words if len(words) > 1 else [word for word in text.split("_") if word]


def cut(text: str, length: int) -> str:
    """Cut a text to a number of characters, the last of them an ellipsis.

    >>> cut("ankle boot", 7)
    'ankle…'
    """
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


def class_labels(names: Sequence[str] | None, count: int, max_len: int = 8) -> list[str]:
    """Return a short name for each of ``count`` classes: its number if it has none.

    The beginning of a name, not its initials, which several classes may have.

    >>> class_labels(["cat", "hippopotamus"], 3)
    ['cat', 'hippopo…', '2']
    """
    known = [] if names is None else list(names)[:count]
    texts = [str(known[place] if place < len(known) else place) for place in range(count)]
    return [cut(text, max_len) for text in texts]
