"""Measure the grown pictures: 5,000 steps, and cuts at random places.

    python examples/growing_zoo/evaluate.py
    python examples/growing_zoo/evaluate.py --models runs/growing_zoo/pretrained --only rose

Prints a table of mean squared errors over RGBA in [0, 1], colours premultiplied: from one seed
after 96, 1,000 and 5,000 steps, and of 16 pictures with a hole each, 150 steps after the cut.
"""

import argparse
from pathlib import Path

from figures import HERE, measure_pretrained

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--models", type=Path, default=HERE / "pretrained", help="folder of models")
parser.add_argument("--only", nargs="+", metavar="NAME", help="pictures; all, if left out")
arguments = parser.parse_args()

names = arguments.only or sorted(
    path.parent.name for path in arguments.models.glob("*/config.json")
)
for row, name in enumerate(names):
    folder = arguments.models / name
    if not (folder / "config.json").is_file():
        parser.error(f"--only must name models in {arguments.models}, got {name}")
    values = measure_pretrained(folder)
    if row == 0:
        print("| picture |", " | ".join(values), "|")
        print("|---" * (len(values) + 1) + "|")
    print(f"| {name} |", " | ".join(f"{value:.6f}" for value in values.values()), "|", flush=True)
