"""Train a cellular automaton to grow an emoji from a single cell, keep it, and heal it.

    python examples/growing_emoji/train.py
    python examples/growing_emoji/train.py --image cat.png --quality draft --output runs/cat

The settings are those of ``ncalab grow``: ncalab.tasks.growing.growing_preset. Writes the run
folder (weights, history, a preview while it trains), an animation and a web page in which the model
lives. Says how long the picture holds and whether it heals; the last line is the mean squared error
of 8 images that were grown from the seed in 64 steps.
"""

import argparse
import json
from pathlib import Path

from figures import EVAL_STEPS, mse_from_seed
from picture import load_emoji
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter

from ncalab.core import fix_random_seed, get_compute_device
from ncalab.core.saving import check_writable_folder, free_folder
from ncalab.tasks import GrowingNCADataset, GrowingNCAModel
from ncalab.tasks.growing import (
    GrowthWatch,
    duration,
    growing_preset,
    measure_growth,
    seconds_per_epoch,
)
from ncalab.train import BasicNCATrainer, Pool
from ncalab.viz import Animator, export_html

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--image", type=Path, default=HERE / "lizard.png", help="picture to grow")
parser.add_argument("--size", type=int, default=40, help="its longer side in cells")
parser.add_argument("--padding", type=int, default=4, help="empty cells around it")
parser.add_argument("--quality", choices=["draft", "good", "best"], default="good")
parser.add_argument("--epochs", type=int, help="optimiser steps; default: by --quality")
parser.add_argument("--weights", type=Path, help="trained weights to start from")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--output", type=Path, help="run folder; default: runs/<image name>")
parser.add_argument("--short", action="store_true", help="two steps on a tiny grid: does it run?")
arguments = parser.parse_args()
if arguments.short:
    arguments.epochs, arguments.size = 2, 12

target = load_emoji(arguments.image, arguments.size, arguments.padding)  # (W, H, 4)
output = arguments.output or free_folder(Path("runs") / arguments.image.stem)
try:
    check_writable_folder(output, name="--output")
except ValueError as error:
    parser.error(str(error))
fix_random_seed(arguments.seed)

preset = growing_preset(arguments.quality, side=len(target), epochs=arguments.epochs)
nca = GrowingNCAModel(get_compute_device(arguments.device), **preset.model)
if arguments.weights is not None:
    nca.load(nca, arguments.weights)
dataset = GrowingNCADataset(target, nca.num_channels, preset.batch_size)
seconds = preset.epochs * seconds_per_epoch(nca, dataset.image, preset.batch_size)
print(f"{preset.epochs} optimiser steps, about {duration(seconds)} on this machine")

trainer = BasicNCATrainer(nca, output, pool=Pool(**preset.pool), progress=False, **preset.trainer)
with (
    SummaryWriter(str(output / "tensorboard")) as writer,
    GrowthWatch(nca, dataset.image, output, epochs=preset.epochs) as watch,
):
    history = trainer.train(
        DataLoader(dataset, preset.batch_size),
        save_every=200,
        summary_writer=writer,
        on_epoch=watch,
    )

nca.save_pretrained(output / "pretrained")
report = measure_growth(nca, dataset.image, length=100 if arguments.short else 1000)
growth = output / "pretrained" / "growth.json"
growth.write_text(json.dumps(report.to_dict(), indent=2) + "\n")
animation = output / f"{arguments.image.stem}.gif"
Animator(nca, nca.make_seed(*target.shape[:2]), steps=96, interval=50).save(animation)
page = animation.with_suffix(".html")
title = f"Growing {arguments.image.stem}: {report.verdict()}"
export_html(nca, page, size=target.shape[:2], title=title, pause_after=report.pause_after)
print(f"model, history and TensorBoard log: {output}")
print(f"animation: {animation}")
print(f"web page: {page}")
for step, mse in report.errors.items():
    print(f"after {step} steps: mean squared error {mse:.6f}")
print(report.verdict())
print(f"mse_from_seed={mse_from_seed(nca, dataset.image, EVAL_STEPS):.6f}")
