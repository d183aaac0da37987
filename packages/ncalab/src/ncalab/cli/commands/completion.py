"""``ncalab completion``: the script that completes commands in a shell."""

import click
from click.shell_completion import get_completion_class

_SHELLS = ("bash", "zsh", "fish")


@click.command(short_help="Print the script that completes commands in your shell.")
@click.argument("shell", type=click.Choice(_SHELLS))
def completion(shell: str) -> None:
    """Print the script that completes commands, options and files in SHELL.

    \b
    Examples:
      eval "$(ncalab completion bash)"             # in ~/.bashrc
      eval "$(ncalab completion zsh)"              # in ~/.zshrc
      ncalab completion fish > ~/.config/fish/completions/ncalab.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"click has no completion for {shell}")
    root = click.get_current_context().find_root().command
    # Not kind.source(), which would look at the version of a bash that need not be there.
    script = kind(root, {}, "ncalab", "_NCALAB_COMPLETE")
    click.echo(script.source_template % script.source_vars())
