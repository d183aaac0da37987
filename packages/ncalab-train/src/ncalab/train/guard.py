"""Log errors of figures, logs and displays, which must not end a training."""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


class Guard:
    """Turn errors of figures, logs and displays into one warning for each of them.

    For parts that a training does not depend on. Ctrl-C is not held back.

    Args:
        consequence: What the warning says about the training.

    >>> guard = Guard()
    >>> with guard("the figure"):
    ...     raise ValueError("no axes")
    >>> guard.failed
    {'the figure'}
    """

    def __init__(self, consequence: str = "the training continues") -> None:
        self.consequence = consequence
        self.failed: set[str] = set()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Log an error in the block, the first one of each name as a warning.

        Args:
            name: What to call it in the warning.
        """
        try:
            yield
        except Exception as error:
            if name not in self.failed:
                self.failed.add(name)
                logger.warning("%s failed; %s (%s)", name, self.consequence, _describe(error))
            logger.debug("%s failed", name, exc_info=True)


def _describe(error: Exception) -> str:
    """Return type, message and place of an error, in one line."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    frames = traceback.extract_tb(error.__traceback__)
    return f"{text}, in {frames[-1].filename}, line {frames[-1].lineno}" if frames else text
