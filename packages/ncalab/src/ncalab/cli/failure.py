"""From an exception to an exit code and one line."""

import click

BAD_INPUT = 2
UNEXPECTED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it

_TRACEBACK = "ncalab.traceback"

# What the library raises for what the user gave. Other errors of the system (a full disk) are not
# the user's, though they come as OSError, too.
_GIVEN_WRONG = (
    ValueError,
    TypeError,
    ImportError,
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


class Failure(click.ClickException):
    """An exception of the library, as click reports it.

    Args:
        error: The exception.
    """

    def __init__(self, error: Exception) -> None:
        expected = isinstance(error, _GIVEN_WRONG)
        text = str(error) if expected else f"{type(error).__name__}: {error} (see --traceback)"
        super().__init__(text or type(error).__name__)
        self.error = error

    @property
    def exit_code(self) -> int:  # type: ignore[override]  # click reads it from the instance
        """The code that the process ends with."""
        return BAD_INPUT if isinstance(self.error, _GIVEN_WRONG) else UNEXPECTED


def one_line(error: click.ClickException) -> str:
    """Return the message of an error on one line; for bad usage, with where to find help.

    >>> one_line(click.ClickException("path must hold images:\\na.png is missing"))
    'path must hold images: a.png is missing'
    """
    lines = [line.strip() for line in error.format_message().splitlines() if line.strip()]
    first, *rest = lines or [type(error).__name__]
    text = f"{first} {'; '.join(rest)}".strip()
    context = error.ctx if isinstance(error, click.UsageError) else None
    return text if context is None else f"{text} (see {context.command_path} --help)"


def wants_traceback(ctx: click.Context) -> bool:
    """Return whether ``--traceback`` was given."""
    return bool(ctx.meta.get(_TRACEBACK, False))


def show_traceback(ctx: click.Context, _parameter: click.Parameter, value: bool) -> None:
    """Remember ``--traceback``; a callback of the option."""
    if value:
        ctx.meta[_TRACEBACK] = True
