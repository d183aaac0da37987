"""The figures of a growing emoji: what evaluate.py prints and the card of a model states."""

from pathlib import Path

import torch
from picture import load_emoji
from torch import Tensor

from ncalab.tasks import GrowingNCADataset, GrowingNCAModel

HERE = Path(__file__).parent
EVAL_STEPS = 64
EVAL_ROLLOUTS = 8


def mse(state: Tensor, target: Tensor) -> float:
    """Return the mean squared error of the image channels, over RGBA, cells and samples."""
    return (state[:, :4] - target.to(state)).square().mean().item()


def seeds(nca: GrowingNCAModel, target: Tensor) -> Tensor:
    """Return 8 seeds on the grid of the target, shape ``(8, C, W, H)``."""
    return nca.make_seed(*target.shape[1:]).repeat(EVAL_ROLLOUTS, 1, 1, 1)


def mse_from_seed(nca: GrowingNCAModel, target: Tensor, steps: int = EVAL_STEPS) -> float:
    """Grow 8 images from the seed and return their mean squared error.

    Args:
        nca: Trained model.
        target: Premultiplied target, shape ``(4, W, H)``, range [0, 1].
        steps: Number of steps.
    """
    return mse(nca.predict(seeds(nca, target), steps, seed=0).output_image, target)


def cut_circle(states: Tensor) -> Tensor:
    """Clear a circle in the middle whose diameter is a quarter of the grid's width."""
    width, height = states.shape[2:]
    along_w = torch.arange(width)[:, None] - (width - 1) / 2
    along_h = torch.arange(height)[None, :] - (height - 1) / 2
    hole = torch.hypot(along_w, along_h) <= width / 8
    return states.masked_fill(hole.to(states.device), 0)


def damaged(nca: GrowingNCAModel, target: Tensor, cut_at: int) -> Tensor:
    """Grow 8 images and cut a circle out of each, shape ``(8, C, W, H)``."""
    return cut_circle(nca.predict(seeds(nca, target), cut_at, seed=0).output_image)


def measure(nca: GrowingNCAModel, target: Tensor, *, cut_at: int = 96) -> dict[str, float]:
    """Measure growth, persistence and regrowth.

    Args:
        nca: Trained model.
        target: Premultiplied target, shape ``(4, W, H)``, range [0, 1].
        cut_at: Step at which a circle is cut out.

    Returns:
        Mean squared errors by name.
    """
    values = {f"mse_step_{steps}": mse_from_seed(nca, target, steps) for steps in (64, 80, 96, 500)}
    hurt = damaged(nca, target, cut_at)
    values["mse_before_cut"] = mse_from_seed(nca, target, cut_at)
    values["mse_after_cut"] = mse(hurt, target)
    for steps in (50, 100):
        healed = nca.predict(hurt, steps, seed=1).output_image
        values[f"mse_{steps}_steps_later"] = mse(healed, target)
    return values


def measure_pretrained(folder: Path) -> dict[str, float]:
    """Measure a lizard of pretrained/, under the names of its card."""
    nca = GrowingNCAModel.from_pretrained(folder)
    picture = load_emoji(HERE / "lizard.png", size=40, padding=4)
    return measure(nca, GrowingNCADataset(picture, nca.num_channels).image)
