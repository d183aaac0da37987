"""Measure the models of the zoo, and film them growing.

    python examples/growing_zoo/evaluate.py
    python examples/growing_zoo/evaluate.py butterfly --models runs/zoo/pretrained

Prints the figures of every card; with --output, also writes an animation and a web page of each.
"""

import argparse
from pathlib import Path

from figures import measure_arrival, measure_lasting
from pictures import HERE, ZOO, target_of

from ncalab.tasks import GrowingNCAModel
from ncalab.viz import Animator, export_html

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("names", nargs="*", help=f"of {', '.join(ZOO)}; default: all that are there")
parser.add_argument("--models", type=Path, default=HERE / "pretrained", help="folder of models")
parser.add_argument("--output", type=Path, help="folder for animations and web pages")
arguments = parser.parse_args()
present = [name for name in ZOO if (arguments.models / name).is_dir()]
for name in arguments.names:
    if name not in present:
        parser.error(f"NAMES must be of {', '.join(present)}, got {name!r}")

for name in arguments.names or present:
    nca = GrowingNCAModel.from_pretrained(arguments.models / name)
    target = target_of(name, nca)
    values = {**measure_arrival(nca, target), **measure_lasting(nca, target)}
    shown = ", ".join(f"{metric}={value:.6f}" for metric, value in values.items())
    print(f"{name}: {shown}", flush=True)
    if arguments.output is not None:
        width, height = target.shape[1:]
        animation = arguments.output / f"{name}.gif"
        Animator(nca, nca.make_seed(width, height), 96, interval=50, rollout_seed=0).save(animation)
        export_html(nca, animation.with_suffix(".html"), size=(96, 96), title=name)
