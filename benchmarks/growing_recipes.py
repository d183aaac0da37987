"""Compare recipes for growing a picture at equal CPU time.

    python benchmarks/growing_recipes.py lizard.png cat.png butterfly.png
    python benchmarks/growing_recipes.py lizard.png --recipes good adam --seconds 60 --seeds 0 1

Each training gets the same number of CPU seconds of one thread. Prints, for each of them, how many
optimiser steps it took, the mean squared error of four pictures that were grown from the seed after
64, 96, 200, 500 and 1,000 steps, and for cuts at two places, 150 steps later, the error as a
multiple of that before the cut: a circle whose diameter is a quarter of the grid's width is cut out
at step 96. Then it prints the means over the seeds. "good" is ``growing_preset`` of
``ncalab.tasks.growing``. Without --recipes, all are compared.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncalab.core import fix_random_seed
from ncalab.core.perception import LearnedView
from ncalab.tasks import GrowingNCADataset, GrowingNCAModel
from ncalab.tasks.growing import cut_circle, growing_preset
from ncalab.tasks.growing.picture import load_target
from ncalab.train import Pool
from ncalab.train.muon import MuonWithAdam, rule_matrices
from ncalab.train.optimizer_step import normalize_gradients

STEPS = (64, 96, 200, 500, 1000)
CUT_AT, HEALING = 96, 150
ROLLOUTS = 4
FINAL_LR = 0.1
SIZE, PADDING = 40, 4
KEY = ("recipe", "picture", "seed", "seconds")
FIGURES = (*(f"@{step}" for step in STEPS), "cut 1", "cut 2")
HEAD = "| " + " | ".join(["recipe", "picture", "seed", "steps", *FIGURES]) + " |"
RULE = "|---" * (4 + len(FIGURES)) + "|"
GOOD = growing_preset()


@dataclass(frozen=True)
class Recipe:
    """How a training differs from the one that won.

    Attributes:
        optimizer: "muon", with Adam at 1.6e-3 for what is not a matrix of the rule, or "adam".
        lr: Learning rate at first; a tenth at the end.
        weight_decay: Weight decay of Muon.
        steps: Steps of a rollout, a range (min, max), without max.
        batch: Number of pictures in a batch.
        seeds: How many of them start from the seed.
        damaged: In how many of them a hole is cut.
        spread: Share of the grid that holes have their centres in.
        pool: Number of slots of the pool.
        rollouts: Number of rollouts in a row that a batch is drawn for.
        padding: How the grid continues beyond its border.
        warm_up: Number of optimiser steps over which the learning rate rises at first.
        dilations: Of the branches of learned filters that cells perceive by.
        seed_weight: Weight of what keeps a seed alive, in the loss.
    """

    optimizer: str = "muon"
    lr: float = GOOD.trainer["lr"]
    weight_decay: float = 0.0
    steps: tuple[int, int] = GOOD.model["training_timesteps"]
    batch: int = GOOD.batch_size
    seeds: int = GOOD.pool["n_seed"]
    damaged: int = GOOD.pool["num_damaged"]
    spread: float = GOOD.pool["damage_spread"]
    pool: int = GOOD.pool["size"]
    rollouts: int = 1
    padding: str = GOOD.model["filter_padding"]
    warm_up: int = GOOD.trainer["warmup_steps"]
    dilations: tuple[int, ...] = (1, 3, 9)
    seed_weight: float = GOOD.model["lambda_seed"]


RECIPES = {
    "good": Recipe(),
    "batch of two": Recipe(batch=2, damaged=1),
    "one branch": Recipe(dilations=(1,)),
    "two branches": Recipe(dilations=(1, 4)),
    "two branches, nearer": Recipe(dilations=(1, 2)),
    "no warm-up": Recipe(warm_up=0),
    "seeds may die": Recipe(seed_weight=0.0),
    "lr 0.04": Recipe(lr=0.04),
    "rollouts half as long": Recipe(steps=(12, 25)),
    "two rollouts in a row": Recipe(rollouts=2),
    "weight decay 0.1": Recipe(weight_decay=0.1),
    "holes in the middle half": Recipe(spread=0.5),
    "pool of 1,024": Recipe(pool=1024),
    "adam": Recipe(optimizer="adam", lr=8e-3),
    "before": Recipe(
        "adam", 8e-3, steps=(48, 65), batch=4, seeds=2, damaged=0, spread=0.5, pool=1024,
        padding="reflect", warm_up=0, dilations=(1,), seed_weight=0.0,
    ),
}  # fmt: skip


def make_optimizer(nca: GrowingNCAModel, recipe: Recipe) -> torch.optim.Optimizer:
    """Create the optimiser of a recipe."""
    parameters = [p for p in nca.parameters() if p.requires_grad]
    if recipe.optimizer == "adam":
        return torch.optim.Adam(parameters, lr=recipe.lr)
    matrices = rule_matrices(nca)
    others = [p for p in parameters if all(p is not matrix for matrix in matrices)]
    return MuonWithAdam(matrices, others, lr=recipe.lr, adam_lr=1.6e-3, betas=(0.9, 0.999))


def train(
    recipe: Recipe, target: np.ndarray, seed: int, seconds: float
) -> tuple[GrowingNCAModel, int]:
    """Train for a number of CPU seconds; return the model and the number of optimiser steps."""
    fix_random_seed(seed)
    model = {**GOOD.model, "filter_padding": recipe.padding, "lambda_seed": recipe.seed_weight}
    model["perception_args"] = {
        "views": [(LearnedView, {"dilation": dilation}) for dilation in recipe.dilations]
    }
    nca = GrowingNCAModel(torch.device("cpu"), **model)
    data = GrowingNCADataset(target, nca.num_channels)
    image = data.image.expand(recipe.batch, -1, -1, -1)
    seeds = data.seed.repeat(recipe.batch, 1, 1, 1)
    pool = Pool(
        recipe.seeds,
        damage=recipe.damaged > 0,
        p_damage=1.0,
        num_damaged=recipe.damaged,
        size=recipe.pool,
        damage_spread=recipe.spread,
        rollouts=recipe.rollouts,
    )
    optimizer = make_optimizer(nca, recipe)
    rates = [group["lr"] for group in optimizer.param_groups]
    matrices = rule_matrices(nca)
    start, count, done = time.process_time(), 0, 0.0
    while done < 1:
        factor = FINAL_LR**done * min(1, (count + 1) / max(1, recipe.warm_up))
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * factor
        steps = int(torch.randint(*recipe.steps, ()))
        prediction = nca(pool.sample(seeds), steps)
        errors = (prediction.image_channels - image).square().mean(dim=(1, 2, 3))
        optimizer.zero_grad()
        nca.loss(prediction, image)["total"].backward()
        normalize_gradients(nca.parameters())
        optimizer.step()
        if recipe.weight_decay:
            with torch.no_grad():
                for matrix in matrices:
                    matrix.mul_(1 - optimizer.param_groups[0]["lr"] * recipe.weight_decay)
        pool.update(prediction.output_image.detach(), losses=errors.detach())
        count += 1
        done = (time.process_time() - start) / seconds
    return nca, count


def mse(states: Tensor, target: Tensor) -> float:
    """Return the mean squared error over RGBA, cells and samples."""
    return (states[:, :4] - target).square().mean().item()


def measure(nca: GrowingNCAModel, target: Tensor) -> dict[str, float]:
    """Measure growth, persistence and healing."""
    side = target.shape[1]
    grown: dict[int, Tensor] = {}

    def keep(step: int, state: Tensor) -> bool:
        if step in STEPS:
            grown[step] = state.clone()
        return False

    seeds = nca.make_seed(side, side).repeat(ROLLOUTS, 1, 1, 1)
    nca.predict(seeds, max(STEPS), seed=0, on_step=keep)
    values = {f"@{step}": mse(grown[step], target) for step in STEPS}
    for number, place in enumerate(((side // 2, side // 2), (side * 3 // 8, side * 5 // 8)), 1):
        healed = nca.predict(cut_circle(grown[CUT_AT], place), HEALING, seed=number).output_image
        values[f"cut {number}"] = mse(healed, target) / values[f"@{CUT_AT}"]
    return values


def known_rows(path: Path | None) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Return what an earlier run has measured, by recipe, picture, seed and seconds."""
    if path is None or not path.exists():
        return {}
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {tuple(row[name] for name in KEY): row for row in rows}


def mean_of(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the means of rows of one recipe and picture."""
    means = {name: sum(row[name] for row in rows) / len(rows) for name in ("steps", *FIGURES)}
    return {**rows[0], **means}


def line_of(row: dict[str, Any], seed: str) -> str:
    """Return a row of the table."""
    shown = [f"{row[name]:.5f}" if name[0] == "@" else f"{row[name]:.2f}" for name in FIGURES]
    return (
        "| "
        + " | ".join([row["recipe"], row["picture"], seed, f"{row['steps']:.0f}", *shown])
        + " |"
    )


def main() -> None:
    """Train and measure every recipe on every picture with every seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pictures", type=Path, nargs="+", help="pictures with transparency")
    parser.add_argument("--recipes", nargs="+", choices=[*RECIPES], default=[*RECIPES])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=120, help="CPU seconds of a training")
    parser.add_argument(
        "--json", type=Path, help="file to append the figures to; what it holds is not run again"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = known_rows(arguments.json)
    print(f"{HEAD}\n{RULE}", flush=True)
    for name, path, seed in product(arguments.recipes, arguments.pictures, arguments.seeds):
        key = (name, path.stem, seed, arguments.seconds)
        if key not in rows:
            target = load_target(path, SIZE, PADDING)
            nca, count = train(RECIPES[name], target, seed, arguments.seconds)
            values = measure(nca, GrowingNCADataset(target, nca.num_channels).image)
            row = dict(zip(KEY, key, strict=True)) | {"steps": count, **values}
            rows[key] = row | {"settings": asdict(RECIPES[name])}
            if arguments.json:
                with arguments.json.open("a") as file:
                    file.write(json.dumps(rows[key]) + "\n")
        print(line_of(rows[key], str(seed)), flush=True)
    if len(arguments.seeds) == 1:
        return
    print(f"\nMeans over the seeds:\n\n{HEAD}\n{RULE}")
    for name, path in product(arguments.recipes, arguments.pictures):
        keys = [(name, path.stem, seed, arguments.seconds) for seed in arguments.seeds]
        print(line_of(mean_of([rows[key] for key in keys]), f"{len(keys)} seeds"))


if __name__ == "__main__":
    main()
