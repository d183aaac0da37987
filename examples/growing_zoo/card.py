"""The card of a grown picture."""

import json
from pathlib import Path

from figures import CUT_AT, CUTS, HEALING, HERE, size_of

from ncalab.core.saving import atomic_write
from ncalab.tasks import GrowingNCAModel

TEMPLATE = HERE / "card_template.md"
MEANINGS = {
    "mse_step_96": "96 steps from the seed",
    "mse_step_1000": "1,000 steps",
    "mse_step_5000": "5,000 steps",
    "mse_before_cuts": f"{CUT_AT} steps, before the cuts",
    "mse_healed": f"{HEALING} steps after a cut, median of {CUTS} at random places",
    "mse_healed_worst": "the same, the worst of them",
}


def write_card(folder: Path, run: Path, values: dict[str, float]) -> None:
    """Write README.md beside the weights of a grown picture.

    Args:
        folder: Folder of the model, called like the picture.
        run: The file grow.json of its training.
        values: Its figures, by name.
    """
    name = folder.name
    growth = json.loads((folder / "growth.json").read_text(encoding="utf-8"))
    settings = json.loads(run.read_text(encoding="utf-8"))["settings"]
    metrics = "\n".join(
        f"    - type: mse\n      name: {key}\n      value: {value:.6f}"
        for key, value in values.items()
    )
    rows = "\n".join(
        f"| `{key}` | {value:.6f} | {MEANINGS[key]} |" for key, value in values.items()
    )
    size = size_of(name)
    text = TEMPLATE.read_text(encoding="utf-8").format(
        name=name,
        title=name.replace("_", " ").capitalize(),
        metrics=metrics,
        rows=rows,
        parameters=GrowingNCAModel.from_pretrained(folder).num_trainable_parameters(),
        size=size,
        side=size + 2 * settings["padding"],
        by_size="" if size == 40 else f" but `--size {size}`",
        seed=settings["seed"],
        verdict=growth["verdict"],
    )
    atomic_write(folder / "README.md", text.encode())
