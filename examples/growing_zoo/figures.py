"""The figures of a model of the zoo: what evaluate.py prints and its card states."""

from pathlib import Path

import torch
from pictures import target_of
from torch import Tensor

from ncalab.tasks import GrowingNCAModel
from ncalab.tasks.growing.report import HEALING_STEPS, cut_circle, random_places

STEPS = (1000, 5000)
ROLLOUTS = 2
CUTS = 16


def mse(states: Tensor, target: Tensor) -> float:
    """Return the mean squared error of the image channels, over RGBA, cells and samples."""
    return (states[:, :4] - target.to(states)).square().mean().item()


def grow(nca: GrowingNCAModel, target: Tensor) -> dict[int, Tensor]:
    """Grow two pictures from the seed; return their states after 1,000 and 5,000 steps."""
    states: dict[int, Tensor] = {}

    def keep(step: int, state: Tensor) -> bool:
        if step in STEPS:
            states[step] = state.clone()
        return False

    seeds = nca.make_seed(*target.shape[1:]).repeat(ROLLOUTS, 1, 1, 1)
    nca.predict(seeds, STEPS[-1], seed=0, on_step=keep)
    return states


def cut(state: Tensor, target: Tensor) -> Tensor:
    """Cut a circle out of 16 copies of a picture, a quarter of the grid wide.

    Their centres are visible cells, drawn at random with a fixed seed.
    """
    places = random_places(target, CUTS, seed=0)
    return torch.cat([cut_circle(state[:1], place) for place in places])


def measure_arrival(nca: GrowingNCAModel, target: Tensor) -> dict[str, float]:
    """Measure what eight rollouts of 96 steps from the seed grow.

    Args:
        nca: Trained model.
        target: Premultiplied target, shape ``(4, W, H)``, range [0, 1].

    Returns:
        Mean squared error by name.
    """
    seeds = nca.make_seed(*target.shape[1:]).repeat(8, 1, 1, 1)
    return {"mse_step_96": mse(nca.predict(seeds, 96, seed=0).output_image, target)}


def measure_lasting(nca: GrowingNCAModel, target: Tensor) -> dict[str, float]:
    """Measure whether a picture stays, and heals wherever a hole is cut.

    Rounding decides between two paths now and then in so many steps: on another processor, the
    figures differ in the second digit.

    Returns:
        Mean squared errors by name.
    """
    states = grow(nca, target)
    values = {f"mse_step_{step}": mse(state, target) for step, state in states.items()}
    hurt = cut(states[STEPS[0]], target)
    healed = nca.predict(hurt, HEALING_STEPS, seed=1).output_image
    values["mse_after_cuts"] = mse(hurt, target)
    values["mse_healed"] = mse(healed, target)
    values["mse_healed_worst"] = max(mse(each[None], target) for each in healed)
    return values


def measure_pretrained(folder: Path) -> dict[str, float]:
    """Measure a model of pretrained/, under the names of its card."""
    nca = GrowingNCAModel.from_pretrained(folder)
    return measure_arrival(nca, target_of(folder.name, nca))
