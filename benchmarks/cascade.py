"""Time a model against a cascade of it, per image, in one process and in turn.

    python benchmarks/cascade.py
    python benchmarks/cascade.py --side 512 --scales 4 2 1 --steps 10 8 8 --plain-steps 64

The model has the size of a binary segmentation. By default both see equally far: 64 steps of one
cell, and 10 steps of 4 pixels, 8 of 2 and 8 of 1. Prints milliseconds per image (medians) and the
ratio cascade / plain: the median of the ratios of neighbouring measurements, which a machine whose
speed drifts does not distort.
"""

import argparse
import json
import platform
import statistics
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.tasks import CascadeNCA


class PlainModel(AbstractNCAModel):
    """One image channel, one logit."""

    def __init__(self, device: torch.device, **arguments: Any) -> None:
        sizes = {"num_image_channels": 1, "num_hidden_channels": 16, "num_output_channels": 1}
        kind = {"fire_rate": 0.8, "num_learned_filters": 2, "filter_padding": "circular"}
        super().__init__(device, **{**sizes, **kind, **arguments})

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Return the mean squared error."""
        return {"total": (pred.logits - label).square().mean()}


def seconds(model: AbstractNCAModel, image: Tensor) -> float:
    """Time one prediction."""
    start = time.perf_counter()
    model.predict(image, seed=1)
    return time.perf_counter() - start


def compare(
    plain: AbstractNCAModel, cascade: CascadeNCA, image: Tensor, rounds: int
) -> dict[str, float]:
    """Return medians in milliseconds per image, and the median ratio."""
    runs = [partial(seconds, model, image) for model in (plain, cascade)]
    for run in runs:
        run()
    pairs = [[run() for run in runs] for _ in range(rounds)]
    of_plain, of_cascade = (
        statistics.median(times) * 1e3 / len(image) for times in zip(*pairs, strict=True)
    )
    ratio = statistics.median(coarse / fine for fine, coarse in pairs)
    return {"plain": of_plain, "cascade": of_cascade, "ratio": ratio}


def main() -> None:
    """Compare once and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=512, help="width and height in pixels")
    parser.add_argument("--batch", type=int, default=1, help="images in a batch")
    parser.add_argument("--scales", type=int, nargs="+", default=[4, 2, 1])
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 8, 8])
    parser.add_argument("--plain-steps", type=int, default=64, help="steps of the model alone")
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each")
    parser.add_argument("--json", type=Path, help="where to write the figures, too")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    plain = PlainModel(torch.device("cpu"), inference_timesteps=arguments.plain_steps)
    torch.nn.init.normal_(plain.rule.get_parameter("network.2.weight"), std=0.01)
    cascade = CascadeNCA(plain, arguments.scales, arguments.steps)
    image = torch.rand(arguments.batch, 1, arguments.side, arguments.side)
    figures = compare(plain, cascade, image, arguments.rounds)

    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"| B x W x H | plain | cascade | plain ms | cascade ms | ratio |\n|{'---|' * 6}")
    scales = " + ".join(
        f"{steps} at {scale}" for steps, scale in zip(cascade.steps, cascade.scales, strict=True)
    )
    shape = f"{arguments.batch} x {arguments.side} x {arguments.side}"
    row = f"{figures['plain']:.0f} | {figures['cascade']:.0f} | {figures['ratio']:.2f}"
    print(f"| {shape} | {arguments.plain_steps} | {scales} | {row} |")
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
