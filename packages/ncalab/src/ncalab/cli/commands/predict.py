"""``ncalab predict``: a model and its pictures."""

from pathlib import Path

import click

from ncalab.cli.failure import BAD_INPUT
from ncalab.cli.options import (
    ABOVE_ZERO,
    ANY_FOLDER,
    EXISTING,
    POSITIVE,
    device_option,
    force_option,
    goal_option,
    max_pixels_option,
    page_option,
    seed_option,
    size_option,
    steps_option,
    traceback_option,
    weights_argument,
)


def _rows(_ctx: click.Context, _parameter: click.Parameter, value: str | None) -> int | str | None:
    """Convert --tile: a number of rows, or "auto"."""
    if value in (None, "auto"):
        return value
    if not value.isdigit() or int(value) < 1:
        raise click.BadParameter(f"must be a number of rows of at least 1, or auto, got {value!r}")
    return int(value)


@click.command(short_help="Predict masks, classes, depths; or grow a picture.")
@weights_argument
@click.argument("images", nargs=-1, type=EXISTING)
@click.option(
    "--output",
    type=ANY_FOLDER,
    default="predictions",
    show_default=True,
    help="Folder to write to.",
)
@steps_option
@click.option("--batch-size", type=POSITIVE, default=8, show_default=True, help="Of equal sizes.")
@click.option(
    "--tile",
    callback=_rows,
    metavar="ROWS|auto",
    help="Run images in bands of rows; they may then have any number of pixels.",
)
@page_option
@max_pixels_option
@click.option("--overlay", is_flag=True, help="Also write the image, tinted by what its cells say.")
@click.option(
    "--depth-format",
    type=click.Choice(["npy", "png"]),
    default="npy",
    show_default=True,
    help="depth: exact values, or 16-bit counts.",
)
@click.option(
    "--depth-unit",
    type=ABOVE_ZERO,
    default=0.001,
    show_default=True,
    help="depth: what a count of the PNG stands for.",
)
@size_option
@goal_option("What to aim at, ")
@click.option("--save-state", is_flag=True, help="Also write all channels, as NAME_state.npy.")
@device_option
@seed_option("Decides which cells fire, the same in every image.")
@force_option()
@traceback_option
@click.pass_context
def predict(
    ctx: click.Context, /, weights: Path, images: tuple[Path, ...], output: Path, **settings: object
) -> None:
    """Predict from IMAGES, and write what the model's task is about.

    WEIGHTS is a weights file, a folder of save_pretrained, or that of a training run (its best
    weights, else the last). IMAGES are pictures of any size, .npy arrays (rows, columns) or (rows,
    columns, channels), or folders of them.

    \b
    segmentation    NAME_mask.png: 0 and 255, or the number of each class in a palette
    classification  classes.csv: class and probabilities of every image
    depth           NAME_depth.npy or .png, and NAME_depth_color.png
    growing         NAME_grown.png, from IMAGES; without any, seed_grown.png

    Results are called after the image; a name that would be too long for a file is cut, and that is
    said. A broken file is named, the others are done, and the exit code is 2. An image's
    prediction does not depend on the others in the call.

    \b
    Examples:
      ncalab predict runs/nuclei images/*.png --overlay
      ncalab predict runs/digits scans/ --output labels
      ncalab predict runs/depth street.jpg --depth-format png
      ncalab predict runs/cat --size 64 64 --steps 200
    """
    from ncalab.cli.jobs.predict import PredictSettings, predict_images

    failed = predict_images(
        weights,
        images,
        output,
        PredictSettings(**settings),  # type: ignore[arg-type]  # click has converted them
    )
    if failed:
        ctx.exit(BAD_INPUT)
