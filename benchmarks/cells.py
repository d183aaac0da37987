"""Time cells of other kinds than the usual one against plain eager steps, and weigh their training.

    python benchmarks/cells.py
    python benchmarks/cells.py --only gated "3-D" --threads 1 --seconds 10
    python benchmarks/cells.py --output docs/_static/benchmarks

Rules with gates, normalised or deeper ones; branches of filters, views that turn with nothing or by
an angle, attention; grids of one and three axes; goals. Each kind stands on a grid of a usual size
and on one of 8 cells per axis, with 4 image and 12 hidden channels, 128 hidden neurons and a fire
rate of 1/2. Measured as in ``examples.py``, which says what the columns are; where cax is
installed, it is a contender in the usual cells of one to three axes. Writes cells.json, cells.md.
"""

from collections.abc import Iterator
from typing import Any

import torch
from example_cases import CPU, Example
from torch import Tensor, nn

from examples import Suite, run
from ncalab.core import AbstractNCARule, GatedNCARule
from ncalab.core.perception import (
    AttentionView,
    IsotropicView,
    LearnedView,
    SteerableView,
    ViewsNCAPerception,
)
from ncalab.tasks import GrowingNCAModel

GOALS = 5


class OwnGatedRule(AbstractNCARule):
    """A gated rule as a user writes it: with the activation that their paper has."""

    pointwise = True

    def __init__(self, *sizes: Any) -> None:
        super().__init__(*sizes)
        self.hidden = nn.Conv2d(self.input_size, self.hidden_size, 1)
        self.gate = nn.Conv2d(self.hidden_size, self.output_size, 1)
        self.change = nn.Conv2d(self.hidden_size, self.output_size, 1, bias=False)
        nn.init.zeros_(self.change.weight)

    def forward(self, x: Tensor) -> Tensor:
        """Compute updates, shape ``(B, output_size, W, H)``."""
        hidden = torch.tanh(self.hidden(x))
        update: Tensor = self.gate(hidden).sigmoid() * self.change(hidden)
        return update

    def freeze(self, freeze_last: bool = False) -> None:
        """Exclude all layers from training, if asked for."""
        self.requires_grad_(not freeze_last)


def views(*listed: Any) -> dict[str, Any]:
    """Return the arguments of a model that perceives a list of views."""
    return {"perception_type": ViewsNCAPerception, "perception_args": {"views": list(listed)}}


# What each kind is made of, and the axes of its grid.
KINDS: dict[str, tuple[dict[str, Any], int]] = {
    "usual": ({}, 2),
    "gated": ({"rule_type": GatedNCARule}, 2),
    "gated, one's own": ({"rule_type": OwnGatedRule}, 2),
    "layer norm": ({"rule_args": {"normalization": "layer"}}, 2),
    "RMS norm": ({"rule_args": {"normalization": "rms"}}, 2),
    "three layers": ({"rule_args": {"hidden_layers": 2}}, 2),
    "two branches": (views(LearnedView, (LearnedView, {"dilation": 2})), 2),
    "isotropic": (views((IsotropicView, {"determinants": 4})), 2),
    "steerable": (views(SteerableView), 2),
    "attention": (views(AttentionView), 2),
    "conditional": ({"goal_size": GOALS, "num_goals": GOALS}, 2),
    "conditional, gated": ({"goal_size": GOALS, "num_goals": GOALS, "rule_type": GatedNCARule}, 2),
    "1-D": ({"spatial_dims": 1}, 1),
    "3-D": ({"spatial_dims": 3}, 3),
    "3-D, gated": ({"spatial_dims": 3, "rule_type": GatedNCARule}, 3),
}
# Batch and grid by the number of axes.
SIZES = {1: (8, (4096,)), 2: (8, (72, 72)), 3: (2, (32, 32, 32))}
STEPS = 8


def cases() -> Iterator[Example]:
    """Yield every kind in a usual size, then on 8 cells per axis."""
    for small in (False, True):
        for name, (arguments, axes) in KINDS.items():
            batch, grid = SIZES[axes]
            goals = arguments.get("num_goals", 0)
            yield Example(
                f"{name}, small" if small else name,
                lambda own=arguments: GrowingNCAModel(CPU, num_hidden_channels=12, **own),  # type: ignore[misc]  # a default
                8 if small else batch,
                (8,) * axes if small else grid,
                STEPS,
                "image",
                goals=goals,
            )


SUITE = Suite("cells", __file__, list(cases()), with_cax=("usual", "1-D", "3-D"))

if __name__ == "__main__":
    run(SUITE, __doc__.splitlines()[0])
