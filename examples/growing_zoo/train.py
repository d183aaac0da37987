"""Grow every picture of pictures/ by ``ncalab grow`` at its defaults, and write a card for each.

    python examples/growing_zoo/train.py
    python examples/growing_zoo/train.py --only rose spider --output runs/zoo

Nothing is chosen for a picture but its size in cells. A picture that was grown before is measured
again, not grown again; one that was stopped is resumed. Writes a run folder for each, with
weights, a preview, an animation and a web page, and the model with its card into pretrained/NAME.
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

from card import write_card
from figures import HERE, measure_pretrained, size_of

PICTURES = sorted(path.stem for path in (HERE / "pictures").glob("*.png"))

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--only", nargs="+", choices=PICTURES, default=PICTURES, metavar="NAME")
parser.add_argument("--output", type=Path, default=Path("runs/growing_zoo"), help="folder of runs")
parser.add_argument("--short", action="store_true", help="two steps of one: does it run?")
arguments = parser.parse_args()

for name in arguments.only[:1] if arguments.short else arguments.only:
    run = arguments.output / name
    grown = run / "pretrained" / "growth.json"
    if not grown.exists():
        command = [sys.executable, "-m", "ncalab", "grow", str(HERE / "pictures" / f"{name}.png")]
        command += ["--output", str(run), "--size", "12" if arguments.short else str(size_of(name))]
        command += ["--resume"] if (run / "grow.json").exists() else []
        command += ["--epochs", "2"] if arguments.short else []
        subprocess.run(command, check=True)
    if arguments.short:
        continue
    model = arguments.output / "pretrained" / name
    shutil.copytree(run / "pretrained", model, dirs_exist_ok=True)
    values = measure_pretrained(model)
    write_card(model, run / "grow.json", values)
    print(name, *(f"{key}={value:.6f}" for key, value in values.items()))
