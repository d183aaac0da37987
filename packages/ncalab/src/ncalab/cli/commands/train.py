"""``ncalab train``: any model, from a settings file."""

from pathlib import Path

import click

from ncalab.cli.failure import INTERRUPTED
from ncalab.cli.options import FILE, force_option, traceback_option
from ncalab.cli.tasks import TaskName, read_template


def _print_config(ctx: click.Context, _parameter: click.Parameter, task: str | None) -> None:
    if task is None or ctx.resilient_parsing:
        return
    click.echo(read_template(task), nl=False)
    ctx.exit()


@click.command(short_help="Train any model, as a settings file says.")
@click.argument("config", type=FILE)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="Replace a setting, such as trainer.max_epochs=3; the value as in TOML.",
)
@click.option("--output", metavar="FOLDER", help="Run folder; short for --set output=FOLDER.")
@click.option("--device", metavar="DEVICE", help="Short for --set device=DEVICE.")
@click.option("--resume", is_flag=True, help="Resume the run in the output folder.")
@force_option("Replace a run that the output folder holds.")
@click.option("--short", is_flag=True, help="Does it run? Two batches, and nothing is kept.")
@click.option(
    "--print-config",
    type=TaskName(),
    is_eager=True,
    expose_value=False,
    callback=_print_config,
    help="Print a settings file to start from.",
)
@traceback_option
@click.pass_context
def train(
    ctx: click.Context,
    /,
    config: Path,
    overrides: tuple[str, ...],
    output: str | None,
    device: str | None,
    resume: bool,
    force: bool,
    short: bool,
) -> None:
    """Train a model as CONFIG says, a .toml or .json file.

    Its sections are the arguments of the library's classes: [model], [cascade], [data], [split],
    [loader], [trainer], [scheduler], [pool], [early_stopping]. All of it is checked, and the data
    are read, before anything is trained. It is data: it can name the library's classes, but no
    code.

    The run folder gets best and last weights, history.json, curves and train.json, the settings as
    they were used. Ctrl-C keeps what was trained; --resume continues. Paths are relative to the
    folder that the command is run in.

    \b
    Examples:
      ncalab train --print-config segmentation > nuclei.toml
      ncalab train nuclei.toml --short
      ncalab train nuclei.toml --set trainer.max_epochs=100 --set model.fire_rate=0.5
      ncalab train nuclei.toml --resume
    """
    from ncalab.cli.jobs.train import train_model

    changes = list(overrides)
    # As text, whatever it looks like.
    texts = {"output": output, "device": device}
    done = train_model(
        config,
        changes,
        {name: text for name, text in texts.items() if text is not None},
        resume=resume,
        force=force,
        short=short,
    )
    if not done:
        ctx.exit(INTERRUPTED)
