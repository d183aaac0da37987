"""Tables in Markdown."""

from collections.abc import Sequence


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells, one for each name in the head.

    >>> print(markdown_table(["case", "ms"], [["small", "3"]]))
    | case | ms |
    | --- | --- |
    | small | 3 |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
