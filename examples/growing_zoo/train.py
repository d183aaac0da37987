"""Grow the zoo: train a model for every picture by ``ncalab grow``, and write its card.

    python examples/growing_zoo/train.py
    python examples/growing_zoo/train.py butterfly rose --output runs/zoo

Every picture is trained with the same settings, the defaults of the command. A model takes some 5
minutes of one core, at 64 cells some 10; those that are there already are left alone, so the
command can be stopped and called again. evaluate.py prints the figures of the cards.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

from card import write_card
from pictures import PADDING, ZOO, picture_of

MODEL_FILES = ("config.json", "model.safetensors", "growth.json")

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("names", nargs="*", help=f"of {', '.join(ZOO)}; default: all")
parser.add_argument("--output", type=Path, default=Path("runs/zoo"), help="folder")
parser.add_argument("--short", action="store_true", help="one model, two steps: does it run?")
arguments = parser.parse_args()
for name in arguments.names:
    if name not in ZOO:
        parser.error(f"NAMES must be of {', '.join(ZOO)}, got {name!r}")
names = arguments.names or list(ZOO)
models = arguments.output / "pretrained"
if arguments.short:
    names = names[:1]

for name in names:
    folder, run = models / name, arguments.output / "runs" / name
    if (folder / "README.md").exists():
        print(f"{name}: {folder} is there already", file=sys.stderr)
        continue
    command = [sys.executable, "-m", "ncalab", "grow", str(picture_of(name)), "--output", str(run)]
    command += ["--size", str(ZOO[name].size), "--padding", str(PADDING)]
    command += ["--epochs", "2"] if arguments.short else []
    command += ["--resume"] if (run / "grow.json").exists() else []
    start = time.monotonic()
    if subprocess.run(command).returncode:
        raise SystemExit(f"{name}: ncalab grow failed or was stopped; call this again to resume")
    minutes = (time.monotonic() - start) / 60
    folder.mkdir(parents=True, exist_ok=True)
    for file in MODEL_FILES:
        shutil.copy(run / "pretrained" / file, folder)
    history = json.loads((run / "history.json").read_text(encoding="utf-8"))
    write_card(name, folder, minutes, epochs=history["current_epoch"])
    print(f"{name}: {folder}")
