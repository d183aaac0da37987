"""The program ``ncalab``: its commands, and how it ends when something is wrong."""

import sys
from collections.abc import Sequence
from typing import Any

import click

from ncalab.__about__ import __version__
from ncalab.cli.commands import GROUPS
from ncalab.cli.failure import INTERRUPTED, Failure, one_line, wants_traceback


class Program(click.Group):
    """A group of commands that ends with one line on standard error, and a code, for any error."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command line, and leave the process with its exit code."""
        try:
            # Not standalone: click would print the usage before an error.
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except click.Abort:
            click.echo("Stopped.", err=True)
            sys.exit(INTERRUPTED)
        except click.ClickException as error:
            if not standalone_mode:
                raise
            click.echo(f"Error: {one_line(error)}", err=True)
            sys.exit(error.exit_code)
        if not standalone_mode:
            return code
        sys.exit(code if isinstance(code, int) else 0)

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002 - click gives it
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the commands group by group, where click would sort them by name."""
        for heading, commands in GROUPS.items():
            with formatter.section(heading):
                rows = [
                    (f"{command.name:10}", command.get_short_help_str(70)) for command in commands
                ]
                formatter.write_dl(rows)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what the library raises into what click reports."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if wants_traceback(ctx):
                raise
            raise Failure(error) from error


@click.group(
    cls=Program,
    commands={command.name or "": command for group in GROUPS.values() for command in group},
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Every command explains itself: ncalab COMMAND --help.",
)
@click.version_option(__version__, prog_name="ncalab", message="%(prog)s %(version)s")
def program() -> None:
    """Neural cellular automata: grow a picture, train, predict, animate, export.

    \b
    Examples:
      ncalab grow cat.png                          # train a model that grows the picture
      ncalab animate runs/cat --output cat.gif     # watch it grow
      ncalab train --print-config segmentation > nuclei.toml
      ncalab train nuclei.toml
      ncalab predict runs/nuclei images/*.png

    \b
    Exit codes: 0 done, 2 bad usage or bad input, 130 stopped by Ctrl-C, 1 any other failure.
    """


def main() -> None:
    """Run the command line of this process; it exits with the command's code."""
    program(prog_name="ncalab")
