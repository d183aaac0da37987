"""``ncalab animate``: a rollout as a GIF."""

from pathlib import Path

import click

from ncalab.cli.options import (
    ANY_FILE,
    FILE,
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


@click.command(short_help="Show a model at work, as a GIF.")
@weights_argument
@click.argument("image", type=FILE, required=False)
@click.option(
    "--output", type=ANY_FILE, required=True, help="File that ends in .gif, .mp4 or .webm."
)
@size_option
@goal_option("What to aim at, ")
@page_option
@max_pixels_option
@steps_option
@click.option("--every", type=POSITIVE, default=1, show_default=True, help="Steps between frames.")
@click.option(
    "--interval", type=POSITIVE, default=50, show_default=True, help="Milliseconds of a frame."
)
@click.option("--hidden", is_flag=True, help="Show the hidden channels beside the image.")
@click.option("--overlay", is_flag=True, help="Show what cells say: their class or depth.")
@click.option("--input", "show_input", is_flag=True, help="Show the start beside the image.")
@click.option("--style", type=click.Choice(["dark", "light"]), default="dark", show_default=True)
@device_option
@seed_option("Decides which cells fire.")
@force_option("Replace the file if it is there.")
@traceback_option
def animate(
    weights: Path, image: Path | None, output: Path, force: bool, **settings: object
) -> None:
    """Show the steps of a model as an animation.

    WEIGHTS is a weights file, a folder of save_pretrained, or that of a training run (its best
    weights, else the last). A growing model starts from its seed, or from IMAGE if one is given;
    all others look at IMAGE.

    \b
    Examples:
      ncalab animate runs/cat --output cat.gif
      ncalab animate runs/cat --output cat.gif --steps 200 --every 2 --hidden --style light
      ncalab animate runs/nuclei cells.png --output cells.gif --overlay
    """
    from ncalab.cli.jobs.animate import AnimateSettings, animate_model

    animate_model(
        weights,
        image,
        output,
        AnimateSettings(**settings),  # type: ignore[arg-type]  # click has converted them
        force=force,
    )
