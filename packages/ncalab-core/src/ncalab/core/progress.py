"""Progress bars for terminals and notebooks."""

import sys
import warnings
from collections.abc import Iterable
from typing import Any

_NESTED = 2


def in_notebook() -> bool:
    """Return whether this code runs in a cell of a Jupyter notebook, Colab included.

    >>> in_notebook()
    False
    """
    # Whoever runs in a cell has imported IPython before.
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return shell is not None and "IPKernelApp" in shell.config


def bar_rows() -> int:
    """Count the bars that standard error can show at once.

    Returns:
        2 in a terminal, and in a notebook with ipywidgets; 1 in a notebook without them, where
        text cannot move up; 0 in a file.
    """
    if sys.stderr.isatty():
        return _NESTED
    if not in_notebook():
        return 0
    return _NESTED if issubclass(_bar_class(), _widget_class()) else 1


def _bar_class() -> Any:
    """Return tqdm's class for where this code runs."""
    with warnings.catch_warnings():
        # Of a notebook without ipywidgets: bars of text serve there as well.
        warnings.filterwarnings("ignore", message="IProgress not found")
        from tqdm.auto import tqdm  # only here: it looks for a notebook when it is imported
    return tqdm


def _widget_class() -> Any:
    from tqdm.notebook import tqdm_notebook

    return tqdm_notebook


def progress_bar(iterable: Iterable[Any] | None = None, **options: Any) -> Any:
    """Make a bar that suits a terminal or a notebook.

    Args:
        iterable: What to count; None to count by calls of ``update``.
        **options: Further arguments of ``tqdm.tqdm``.

    Returns:
        A ``tqdm.tqdm``: its widget in a notebook with ipywidgets, else its text.
    """
    return _bar_class()(iterable, **options)
