"""Arguments, options and help of each command. Nothing here imports torch."""

from ncalab.cli.commands.animate import animate
from ncalab.cli.commands.completion import completion
from ncalab.cli.commands.doctor import doctor
from ncalab.cli.commands.export import export
from ncalab.cli.commands.grow import grow
from ncalab.cli.commands.info import info
from ncalab.cli.commands.predict import predict
from ncalab.cli.commands.train import train

GROUPS = {
    "Make a model": (grow, train),
    "Use a model": (predict, animate, export, info),
    "This program": (doctor, completion),
}
"""Commands under the headings of ``ncalab --help``."""
