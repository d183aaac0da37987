"""Arguments and options that several commands share."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

from ncalab.cli.failure import show_traceback
from ncalab.cli.paths import expand_home

Command = TypeVar("Command", bound=Callable[..., Any])


class Option(Protocol):
    """Adds an option to a command."""

    def __call__(self, command: Command, /) -> Command:
        """Return the command with the option."""


MAX_PIXELS = 178_956_970  # ncalab.tasks.images.MAX_PIXELS, without importing torch
DEFAULT_SEED = 1337  # ncalab.core.DEFAULT_RANDOM_SEED, without importing torch
SEEDS = click.IntRange(0, 2**32 - 1)
POSITIVE = click.IntRange(min=1)


class Finite(click.FloatRange):
    """A number that is neither infinite nor NaN, which pass any comparison with a range."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the number, checked."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{number} is not a finite number", param, ctx)
        return number


ABOVE_ZERO = Finite(min=0, min_open=True)


class HomePath(click.Path):
    """A path whose ``~`` is the home folder, also where the shell leaves it: ``--output=~/run``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, checked."""
        return super().convert(expand_home(value), param, ctx)


FILE = HomePath(exists=True, dir_okay=False, path_type=Path)
EXISTING = HomePath(exists=True, path_type=Path)
ANY_FILE = HomePath(dir_okay=False, path_type=Path)
ANY_FOLDER = HomePath(file_okay=False, path_type=Path)


def weights_argument(command: Command) -> Command:
    """Add WEIGHTS: a weights file, a folder of ``save_pretrained``, or one of a training run."""
    return click.argument("weights", type=EXISTING)(command)


def device_option(command: Command) -> Command:
    """Add --device."""
    text = "cpu, cuda, cuda:1, mps, or auto for the best there is."
    return click.option("--device", default="auto", show_default=True, help=text)(command)


def seed_option(text: str) -> Option:
    """Add --seed; ``text`` says what it decides."""
    return click.option("--seed", type=SEEDS, default=DEFAULT_SEED, show_default=True, help=text)


def steps_option(command: Command) -> Command:
    """Add --steps."""
    text = "Number of steps.  [default: what the model was made for]"
    return click.option("--steps", type=POSITIVE, help=text)(command)


def size_option(command: Command) -> Command:
    """Add --size W H."""
    text = "Grid to grow in, rows and columns.  [default: as it was trained, else 64 64]"
    return click.option("--size", type=(POSITIVE, POSITIVE), metavar="ROWS COLUMNS", help=text)(
        command
    )


def goal_option(formats: str = "") -> Option:
    """Add --goal; ``formats`` says for which of them."""
    text = f"{formats}of a model that has goals: a number from 0, or a vector, as 0.5,0,1."
    return click.option("--goal", metavar="GOAL", help=text)


def page_option(command: Command) -> Command:
    """Add --page."""
    text = "Page of an image file with several, or frame of an animation, from 0."
    return click.option("--page", type=click.IntRange(min=0), metavar="N", help=text)(command)


def max_pixels_option(command: Command) -> Command:
    """Add --max-pixels, which the job fills in: what it is by default depends on other options."""
    text = (
        "Pixels that an image may have; a larger one could be made to fill the memory.  "
        f"[default: {MAX_PIXELS}]"
    )
    return click.option("--max-pixels", type=POSITIVE, metavar="N", help=text)(command)


def force_option(text: str = "Replace files that are there.") -> Option:
    """Add --force."""
    return click.option("--force", is_flag=True, help=text)


def traceback_option(command: Command) -> Command:
    """Add --traceback, which shows where an error comes from."""
    return click.option(
        "--traceback",
        "--debug",
        is_flag=True,
        expose_value=False,
        is_eager=True,
        callback=show_traceback,
        help="Show the whole traceback of an error.",
    )(command)
