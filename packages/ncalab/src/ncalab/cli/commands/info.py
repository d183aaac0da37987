"""``ncalab info``: what a model is."""

from pathlib import Path

import click

from ncalab.cli.options import traceback_option, weights_argument


@click.command(short_help="Describe a model, and how its training went.")
@weights_argument
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@traceback_option
def info(weights: Path, as_json: bool) -> None:
    """Describe a model, and how its training went.

    WEIGHTS is a weights file, a folder of save_pretrained, or that of a training run, whose
    history is then reported, too.

    \b
    Examples:
      ncalab info runs/cat
      ncalab info examples/growing_emoji/pretrained
      ncalab info runs/cat --json
    """
    from ncalab.cli.jobs.info import describe, describe_as_json

    click.echo(describe_as_json(weights) if as_json else describe(weights))
