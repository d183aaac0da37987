"""``ncalab doctor``: what is installed, and what it can do."""

import click

from ncalab.cli.options import traceback_option


@click.command(short_help="List versions, devices, engines and extras of this installation.")
@click.option("--json", "as_json", is_flag=True, help="As JSON, for other programs.")
@traceback_option
def doctor(as_json: bool) -> None:
    """List versions, devices, engines and extras of this installation.

    For each device, the engine that runs a usual model, and the reason if a faster one of that
    device does not. For each extra, what it is for, and how to install it. Put the output into a
    report of an error.

    \b
    Examples:
      ncalab doctor
      ncalab doctor --json
    """
    from ncalab.cli.jobs.doctor import describe, describe_as_json

    click.echo(describe_as_json() if as_json else describe())
