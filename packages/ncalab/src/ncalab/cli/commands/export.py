"""``ncalab export``: a model for other programs."""

from pathlib import Path

import click

from ncalab.cli.options import (
    ANY_FILE,
    FILE,
    POSITIVE,
    force_option,
    goal_option,
    max_pixels_option,
    page_option,
    seed_option,
    size_option,
    traceback_option,
    weights_argument,
)


@click.command(short_help="Write a model as ONNX, for torch.export, or as a web page.")
@weights_argument
@click.option(
    "--format",
    "kind",
    type=click.Choice(["onnx", "torch", "html"]),
    help="What to write.  [default: by the suffix of the file: .onnx, .pt2, .html]",
)
@click.option("--output", type=ANY_FILE, required=True, help="File to write.")
@click.option(
    "--steps",
    type=POSITIVE,
    help="onnx, torch: number of steps, of a cascade at least one for each scale.  "
    "[default: an input of the file]",
)
@click.option(
    "--fire-rate",
    type=click.FloatRange(0, 1),
    help="onnx, torch: instead of the model's; with 0 or 1, the seed is not an input.",
)
@click.option("--unroll", is_flag=True, help="onnx, torch: --steps without a loop.")
@click.option("--image", type=FILE, help="html: picture to start from, for all but growing models.")
@page_option
@max_pixels_option
@size_option
@goal_option("html: what to aim at, ")
@click.option("--title", help="html: heading of the page.")
@seed_option("html: decides which cells fire.")
@force_option("Replace the file if it is there.")
@traceback_option
def export(weights: Path, kind: str | None, output: Path, force: bool, **settings: object) -> None:
    """Write a model in a form that other programs run.

    WEIGHTS is a weights file, a folder of save_pretrained, or that of a training run.

    \b
    html   one file that runs the model in any browser
    onnx   for onnxruntime and others (needs the extra onnx of ncalab-core)
    torch  a program of torch.export, read by torch.export.load

    Programs take grids of any size and batches of any length, and compute what predict does: the
    same cells fire for the same seed, which is an input. They take images that are prepared as in
    training; NAME.preparation.json says how.

    \b
    Examples:
      ncalab export runs/cat --output cat.html
      ncalab export runs/nuclei --output nuclei.html --image cells.png
      ncalab export runs/nuclei --format onnx --output nuclei.onnx --steps 20
    """
    from ncalab.cli.jobs.export import ExportSettings, export_model

    export_model(
        weights,
        output,
        kind,
        ExportSettings(**settings),  # type: ignore[arg-type]  # click has converted them
        force=force,
    )
