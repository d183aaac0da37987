"""Curves, logs and last lines of every training of the command line."""

import math
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ncalab.core.run_record import CHECKPOINT_NAME
from ncalab.train.guard import Guard
from ncalab.train.history import HISTORY_NAME
from ncalab.viz import plot_history

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from ncalab.train import TrainingHistory

CURVES = "history.png"
SAVED = "the trained model is saved"


def shown_value(value: float | None) -> str:
    """Return a metric as text; NaN, which JSON writes as null, is undefined.

    >>> shown_value(0.25), shown_value(None)
    ('0.25', 'undefined')
    """
    return "undefined" if value is None or math.isnan(value) else f"{value:.6g}"


@contextmanager
def tensorboard_log(folder: Path, *, enabled: bool) -> "Iterator[SummaryWriter | None]":
    """Open a TensorBoard log in a run folder if it is enabled; an error in it ends no training."""
    guard, writer = Guard(), None
    if enabled:
        # Imported here: it takes seconds.
        from torch.utils.tensorboard import SummaryWriter

        with guard("TensorBoard log"):
            writer = SummaryWriter(str(folder / "tensorboard"))
    try:
        yield writer
    finally:
        with guard("TensorBoard log"):
            if writer is not None:
                writer.close()


def save_curves(history: "TrainingHistory", folder: Path) -> None:
    """Draw the curves of a training into its folder, and say where everything is."""
    files = [folder / HISTORY_NAME]
    with Guard(SAVED)(CURVES):
        plot_history(history).savefig(folder / CURVES)
        files.append(folder / CURVES)
    click.echo(f"history: {', '.join(map(str, files))}")


def say_how_to_resume(folder: Path, epochs: int, command: Sequence[str]) -> None:
    """Say what is kept after Ctrl-C, and the command that resumes the training."""
    if not (folder / CHECKPOINT_NAME).exists():
        click.echo("Stopped before anything was saved.")
        return
    click.echo(f"Stopped after {epochs} whole epochs. What was trained is kept in {folder}.")
    click.echo(f"To resume: {shlex.join(command)}")
