"""The figures of a grown picture: what evaluate.py prints and the card of a model states."""

from pathlib import Path

import torch
from torch import Tensor

from ncalab.cli.jobs.pictures import load_target
from ncalab.core import fix_random_seed
from ncalab.tasks import GrowingNCADataset, GrowingNCAModel
from ncalab.tasks.growing import cut_circle

HERE = Path(__file__).parent
STEPS = (96, 1000, 5000)
CUT_AT, HEALING, CUTS = 300, 150, 16
PADDING = 4
# Longer side in cells of the pictures that have more than the others' 40.
LARGE = {"dragon": 64, "peacock": 64}


def size_of(name: str) -> int:
    """Return the longer side of a picture in cells."""
    return LARGE.get(name, 40)


def target_of(nca: GrowingNCAModel, name: str) -> Tensor:
    """Return what a model should grow, premultiplied, shape ``(4, W, H)``."""
    picture = load_target(HERE / "pictures" / f"{name}.png", size_of(name), PADDING)
    return GrowingNCADataset(picture, nca.num_channels).image


def errors(states: Tensor, target: Tensor) -> Tensor:
    """Return the mean squared error of each picture over RGBA and cells, shape ``(B,)``."""
    return (states[:, :4] - target.to(states)).square().mean(dim=(1, 2, 3))


def measure(nca: GrowingNCAModel, target: Tensor) -> dict[str, float]:
    """Measure growth, persistence over 5,000 steps, and 16 cuts at random places.

    Args:
        nca: Trained model.
        target: Premultiplied target, shape ``(4, W, H)``, range [0, 1].

    Returns:
        Mean squared errors by name.
    """
    values: dict[str, float] = {}
    grown: list[Tensor] = []

    def look(step: int, state: Tensor) -> bool:
        if step in STEPS:
            values[f"mse_step_{step}"] = errors(state, target).item()
        if step == CUT_AT:
            grown.append(state.clone())
        return False

    nca.predict(nca.make_seed(*target.shape[1:]), STEPS[-1], seed=0, on_step=look)
    cells = (target[3] > 0.5).nonzero()
    fix_random_seed(0)
    places = [(int(w), int(h)) for w, h in cells[torch.randint(len(cells), (CUTS,))]]
    hurt = torch.cat([cut_circle(grown[0], place) for place in places])
    healed = errors(nca.predict(hurt, HEALING, seed=1).output_image, target)
    values["mse_before_cuts"] = errors(grown[0], target).item()
    values["mse_healed"] = healed.median().item()
    values["mse_healed_worst"] = healed.max().item()
    return values


def measure_pretrained(folder: Path) -> dict[str, float]:
    """Measure a model of pretrained/, under the names of its card."""
    nca = GrowingNCAModel.from_pretrained(folder)
    return measure(nca, target_of(nca, folder.name))
