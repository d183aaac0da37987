"""Compare recipes for growing a picture at equal CPU time.

    python benchmarks/growing_recipes.py lizard.png cat.png butterfly.png
    python benchmarks/growing_recipes.py lizard.png --recipes muon adam --seconds 60 --seeds 0 1

Each training gets the same number of CPU seconds of one thread. Prints, for each training, the mean
squared error of pictures that were grown from the seed after 64, 96, 200, 500 and 1,000 steps, and
for cuts at two places, 150 steps later, the error as a multiple of the error before the cut: a circle
whose diameter is a quarter of the grid's width is cut out at step 96. Without --recipes, all are
compared. --json appends one line for each training.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ncalab.core import fix_random_seed
from ncalab.tasks import GrowingNCADataset, GrowingNCAModel
from ncalab.train import Pool

STEPS = (64, 96, 200, 500, 1000)
CUT_AT, HEALING = 96, 150
ROLLOUTS = 4
# Centre of each cut as a share of the grid.
PLACES = ((0.5, 0.5), (0.38, 0.6))


@dataclass(frozen=True)
class Recipe:
    """What a training does; the default values are the recipe that won."""

    optimizer: str = "muon"
    lr: float = 0.06
    # Share of the learning rate that is left at the end.
    final_lr: float = 0.1
    # Adam's learning rate for what is not a matrix of the rule, as a share of the other.
    bias_lr: float = 0.1
    weight_decay: float = 0.0
    batch: int = 3
    seeds: int = 1
    damaged: int = 2
    # Share of the time after which damage begins.
    damage_from: float = 0.0
    steps: tuple[int, int] = (24, 48)
    # Rollouts of each batch, each with an optimiser step of its own.
    rollouts: int = 2
    pool: int = 1024
    hidden_channels: int = 12
    hidden_size: int = 128
    learned_filters: int = 0
    laplace: bool = False
    padding: str = "zero"
    ema: float | None = None
    overflow: float = 0.0
    normalize: bool = True


WINNER = Recipe()
RECIPES = {
    "adam": replace(
        WINNER, optimizer="adam", lr=8e-3, batch=4, seeds=2, damaged=0, steps=(48, 64), rollouts=1,
        padding="reflect",
    ),
    "adam, damage": replace(
        WINNER, optimizer="adam", lr=8e-3, batch=4, seeds=2, damaged=1, steps=(72, 96), rollouts=1,
        padding="reflect",
    ),
    "adam, short": replace(WINNER, optimizer="adam", lr=8e-3),
    "muon": WINNER,
}  # fmt: skip


def load(path: Path, size: int, padding: int) -> np.ndarray:
    """Read an RGBA picture, scale its longer side and surround it with empty cells."""
    picture = Image.open(path).convert("RGBA")
    scale = size / max(picture.size)
    width, height = (max(1, round(length * scale)) for length in picture.size)
    side = size + 2 * padding
    canvas = Image.new("RGBA", (side, side))
    place = ((side - width) // 2, (side - height) // 2)
    canvas.paste(picture.resize((width, height), Image.Resampling.LANCZOS), place)
    return np.asarray(canvas)


class Optimizers:
    """Muon on the matrices of the rule and Adam on everything else, or Adam on all."""

    def __init__(self, nca: GrowingNCAModel, recipe: Recipe) -> None:
        self.nca, self.recipe = nca, recipe
        parameters = [p for p in nca.parameters() if p.requires_grad]
        self.matrices: list[tuple[nn.Parameter, nn.Parameter]] = []
        self.optimizers: list[torch.optim.Optimizer] = []
        others, rate = parameters, recipe.lr
        if recipe.optimizer == "muon":
            layers = (nca.rule.first_layer.weight, nca.rule.last_layer.weight)
            # Muon takes matrices; a view shares the memory of the 1x1 convolution.
            self.matrices = [(w, nn.Parameter(w.data.flatten(1))) for w in layers]
            others = [p for p in parameters if not any(p is w for w in layers)]
            rate = recipe.lr * recipe.bias_lr
            self.optimizers.append(
                torch.optim.Muon(
                    [view for _, view in self.matrices], lr=recipe.lr, momentum=0.9,
                    weight_decay=recipe.weight_decay,
                )
            )  # fmt: skip
        self.optimizers.append(torch.optim.Adam(others, lr=rate, betas=(0.9, 0.999)))
        self.rates = [group["lr"] for each in self.optimizers for group in each.param_groups]

    def step(self, done: float) -> None:
        """Apply the gradients at a share of the training that is done."""
        for weight, view in self.matrices:
            view.grad = weight.grad.flatten(1)
        if self.recipe.normalize:
            for parameter in self.nca.parameters():
                if parameter.grad is not None:
                    parameter.grad /= parameter.grad.norm() + 1e-8
        factor = self.recipe.final_lr ** min(done, 1.0)
        groups = [group for each in self.optimizers for group in each.param_groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate * factor
        for optimizer in self.optimizers:
            optimizer.step()
        for parameter in self.nca.parameters():
            parameter.grad = None


def train(recipe: Recipe, target: np.ndarray, seed: int, seconds: float):
    """Train for a number of CPU seconds; return the model and the number of optimiser steps."""
    fix_random_seed(seed)
    nca = GrowingNCAModel(
        torch.device("cpu"),
        num_hidden_channels=recipe.hidden_channels,
        hidden_size=recipe.hidden_size,
        num_learned_filters=recipe.learned_filters,
        use_laplace=recipe.laplace,
        filter_padding=recipe.padding,
        use_alive_mask=True,
    )
    data = GrowingNCADataset(target, nca.num_channels)
    image = data.image.expand(recipe.batch, -1, -1, -1)
    seeds = data.seed.expand(recipe.batch, -1, -1, -1).contiguous()
    pool = Pool(
        recipe.seeds, damage=recipe.damaged > 0, p_damage=1.0, num_damaged=recipe.damaged,
        size=recipe.pool,
    )  # fmt: skip
    optimizers = Optimizers(nca, recipe)
    average = None
    if recipe.ema is not None:
        average = [p.detach().clone() for p in nca.parameters()]
    start, count, done = time.process_time(), 0, 0.0
    low, high = recipe.steps
    while done < 1:
        pool.damage = recipe.damaged > 0 and done >= recipe.damage_from
        state = pool.sample(seeds)
        for _ in range(recipe.rollouts):
            steps = int(torch.randint(low, high + 1, ()))
            prediction = nca(state, steps)
            errors = (prediction.image_channels - image).square().mean(dim=(1, 2, 3))
            loss = errors.mean()
            if recipe.overflow:
                output = prediction.output_image
                loss = loss + recipe.overflow * (output - output.clamp(-2, 2)).abs().mean()
            loss.backward()
            done = (time.process_time() - start) / seconds
            optimizers.step(done)
            if average is not None:
                decay = min(recipe.ema, (1 + count) / (10 + count))
                for mean, p in zip(average, nca.parameters(), strict=True):
                    mean.lerp_(p.detach(), 1 - decay)
            count += 1
            state = prediction.output_image.detach()
        pool.update(state, losses=errors.detach())
    if average is not None:
        with torch.no_grad():
            for mean, p in zip(average, nca.parameters(), strict=True):
                p.copy_(mean)
    return nca, count


def mse(states: Tensor, target: Tensor) -> float:
    """Return the mean squared error over RGBA, cells and samples."""
    return (states[:, :4] - target).square().mean().item()


def cut(states: Tensor, place: tuple[float, float]) -> Tensor:
    """Clear a circle whose diameter is a quarter of the grid's width."""
    width, height = states.shape[2:]
    along_w = torch.arange(width)[:, None] - place[0] * (width - 1)
    along_h = torch.arange(height)[None, :] - place[1] * (height - 1)
    return states.masked_fill(torch.hypot(along_w, along_h) <= width / 8, 0)


def measure(nca: GrowingNCAModel, target: Tensor) -> dict[str, float]:
    """Measure growth, persistence and healing."""
    state = nca.make_seed(*target.shape[1:]).repeat(ROLLOUTS, 1, 1, 1)
    values, before, grown = {}, 0, {}
    for steps in STEPS:
        state = nca.predict(state, steps - before, seed=steps).output_image
        values[f"mse@{steps}"], before, grown[steps] = mse(state, target), steps, state
    for number, place in enumerate(PLACES, 1):
        healed = nca.predict(cut(grown[CUT_AT], place), HEALING, seed=number).output_image
        values[f"cut{number}"] = mse(healed, target) / values[f"mse@{CUT_AT}"]
    return values


def main() -> None:
    """Train and measure every recipe on every picture with every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="+", help="pictures with transparency")
    parser.add_argument(
        "--recipes", nargs="+", default=list(RECIPES), metavar="NAME[,KEY=VALUE...]"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=120, help="CPU seconds of a training")
    parser.add_argument("--size", type=int, default=40, help="longer side in cells")
    parser.add_argument("--padding", type=int, default=4, help="empty cells around")
    parser.add_argument("--json", type=Path, help="file to append the figures to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name, path, seed in product(arguments.recipes, arguments.pictures, arguments.seeds):
        base, *changes = name.split(";")
        recipe = replace(RECIPES[base], **{k: eval(v) for k, v in (c.split("=") for c in changes)})
        target = load(path, arguments.size, arguments.padding)
        nca, count = train(recipe, target, seed, arguments.seconds)
        image = GrowingNCADataset(target, nca.num_channels).image
        values = measure(nca, image)
        shown = "  ".join(f"{key} {value:.5f}" for key, value in values.items())
        print(f"{name:30} {path.stem:10} {seed}  {count:5}  {shown}", flush=True)
        if arguments.json:
            row = {"recipe": name, "picture": path.stem, "seed": seed, "count": count, **values}
            row["settings"] = asdict(recipe)
            with arguments.json.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
