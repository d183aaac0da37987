"""Write the card of a model of the zoo."""

import json
from pathlib import Path
from string import Template

from figures import measure_arrival, measure_lasting
from pictures import HERE, PADDING, ZOO, target_of

from ncalab.tasks import GrowingNCAModel

CAPTIONS = {
    "mse_step_96": "96 steps from the seed, mean of 8 rollouts",
    "mse_step_1000": "1,000 steps, mean of 2",
    "mse_step_5000": "5,000 steps, mean of 2",
    "mse_after_cuts": "after a cut, mean of 16",
    "mse_healed": "150 steps later, mean",
    "mse_healed_worst": "150 steps later, worst",
}


def write_card(name: str, folder: Path, minutes: float, epochs: int) -> None:
    """Measure a trained model and write README.md beside its weights.

    Args:
        name: Its name in the zoo.
        folder: The model, as ``ncalab grow`` saved it, with growth.json; called like the emoji.
        minutes: How long it was trained.
        epochs: Number of optimiser steps.
    """
    nca = GrowingNCAModel.from_pretrained(folder)
    target = target_of(name, nca)
    arrival = measure_arrival(nca, target)
    values = {**arrival, **measure_lasting(nca, target)}
    title = f"{name.replace('_', ' ').capitalize()}, grown from a cell"
    text = Template((HERE / "card.template").read_text(encoding="utf-8")).substitute(
        name=name,
        slug=name.replace("_", "-"),
        title=title,
        code=ZOO[name].code,
        kind=ZOO[name].kind,
        size=ZOO[name].size,
        padding=PADDING,
        side=ZOO[name].size + 2 * PADDING,
        steps=nca.inference_timesteps,
        parameters=f"{nca.num_trainable_parameters():,}",
        epochs=f"{epochs:,}",
        minutes=f"{minutes:.0f}",
        verdict=json.loads((folder / "growth.json").read_text(encoding="utf-8"))["verdict"],
        metrics="\n".join(
            f"    - type: mse\n      name: {metric}\n      value: {value:.6f}"
            for metric, value in arrival.items()
        ),
        rows="\n".join(
            f"| `{metric}` | {value:.6f} | {CAPTIONS[metric]} |" for metric, value in values.items()
        ),
    )
    (folder / "README.md").write_text(text, encoding="utf-8")
