"""``ncalab grow``: train a model that grows a picture."""

from pathlib import Path

import click
from click.core import ParameterSource

from ncalab.cli.failure import INTERRUPTED
from ncalab.cli.options import (
    ABOVE_ZERO,
    ANY_FOLDER,
    FILE,
    POSITIVE,
    device_option,
    force_option,
    max_pixels_option,
    page_option,
    seed_option,
    traceback_option,
)


@click.command(short_help="Train a model that grows a picture from a single cell.")
@click.argument("image", type=FILE)
@click.option("--output", type=ANY_FOLDER, help="Run folder.  [default: runs/NAME of the picture]")
@click.option("--size", type=POSITIVE, default=40, show_default=True, help="Longer side, in cells.")
@click.option(
    "--padding",
    type=click.IntRange(min=0),
    default=4,
    show_default=True,
    help="Empty cells around.",
)
@click.option(
    "--quality",
    type=click.Choice(["draft", "good", "best"]),
    default="good",
    show_default=True,
    help="How long: to see whether it works; to hold and heal; or up to five times that.",
)
@click.option("--epochs", type=POSITIVE, help="Optimiser steps.  [default: by --quality]")
@click.option(
    "--minutes",
    type=ABOVE_ZERO,
    help="Train for about so long, by a step that is measured, instead of --epochs.",
)
@click.option("--batch-size", type=POSITIVE, help="[default: 3; of a draft, 2]")
@click.option(
    "--damage/--no-damage",
    default=True,
    show_default=True,
    help="Learn to heal: cut holes into grown pictures.",
)
@click.option(
    "--hidden-channels",
    "--hidden",
    "hidden",
    type=click.IntRange(min=1),
    default=12,
    show_default=True,
    help="Channels of a cell that nobody sees.",
)
@click.option(
    "--lr",
    type=ABOVE_ZERO,
    help="Rate of Muon at first; it falls to a tenth.  [default: 0.02, less above 48 cells]",
)
@click.option(
    "--max-steps",
    type=click.IntRange(min=4),
    help="A rollout takes half to all of them.  [default: by the cells of a side]",
)
@page_option
@max_pixels_option
@device_option
@seed_option("Decides everything random.")
@click.option("--tensorboard", is_flag=True, help="Also write a TensorBoard log.")
@click.option("--resume", is_flag=True, help="Resume the run in the folder, as it was started.")
@force_option("Replace a run that the folder holds.")
@traceback_option
@click.pass_context
def grow(
    ctx: click.Context,
    /,
    image: Path,
    output: Path | None,
    page: int | None,
    max_pixels: int | None,
    resume: bool,
    force: bool,
    tensorboard: bool,
    minutes: float | None,
    **settings: int | float | str | bool | None,
) -> None:
    """Train a model that grows IMAGE from a single cell, keeps it, and heals it.

    IMAGE is a picture in any format that Pillow reads. Transparent pixels stay empty; without
    transparency the whole rectangle is grown, with its background. A picture is not enlarged or
    cut, but scaled to --size cells; pieces far apart are joined by faint white threads.

    How long it takes on this machine is said before it begins, and while it runs; preview.png in
    the run folder shows what is grown at present. At the end, 1,000 steps and eight cuts are
    measured: it "holds for 1,000 steps; heals", or "drifts after about" so many.

    The run folder gets the weights with these figures (pretrained/), history.json, a GIF and a web
    page that runs the model, and pauses where it would drift. The last line printed is
    the mean squared error, over RGBA in [0, 1], of 8 pictures that were grown from the seed. Ctrl-C
    keeps what was trained.

    \b
    Examples:
      ncalab grow cat.png
      ncalab grow cat.png --quality draft              # a first look
      ncalab grow photo.jpg --size 64 --minutes 30
      ncalab grow cat.png --output runs/cat --resume --epochs 6000   # for longer
    """
    from ncalab.cli.jobs.grow import GrowSettings, grow_picture

    default = (ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP)
    given = {name for name in settings if ctx.get_parameter_source(name) not in default}
    done = grow_picture(
        image,
        output,
        GrowSettings(**settings),  # type: ignore[arg-type]  # click has converted them
        given=given,
        page=page,
        max_pixels=max_pixels,
        resume=resume,
        force=force,
        tensorboard=tensorboard,
        minutes=minutes,
    )
    if not done:
        ctx.exit(INTERRUPTED)
