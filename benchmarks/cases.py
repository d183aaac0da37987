"""Cases of the benchmarks: one model and one kind of state each."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from eager import eager_rollout
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.rollout import Checkpoint, rollout
from ncalab.tasks import GrowingNCAModel

Run = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """A model, a batch of states, and how many steps they take."""

    name: str
    batch: int
    width: int
    height: int
    steps: int = 32
    alive_mask: bool = False
    from_seed: bool = False
    learned_filters: int = 0
    keeps_memory: bool = False

    @property
    def shape(self) -> str:
        """Batch and grid, as a reader writes them."""
        return f"{self.batch} x {self.width} x {self.height}"

    def model(self) -> GrowingNCAModel:
        """Return a model whose rule does something, but little, so that states stay in range."""
        torch.manual_seed(0)
        nca = GrowingNCAModel(
            torch.device("cpu"),
            num_hidden_channels=12,
            use_alive_mask=self.alive_mask,
            num_learned_filters=self.learned_filters,
        )
        torch.nn.init.normal_(nca.rule.get_parameter("network.2.weight"), std=0.01)
        return nca

    def states(self, nca: GrowingNCAModel) -> Tensor:
        """Return states, shape ``(batch, 16, width, height)``."""
        if self.from_seed:
            return nca.make_seed(self.width, self.height).repeat(self.batch, 1, 1, 1)
        return torch.rand(self.batch, nca.num_channels, self.width, self.height)


CASES = [
    Case("full grid", 8, 72, 72),
    Case("full grid, allocator keeps memory", 8, 72, 72, keeps_memory=True),
    Case("full grid, alive mask", 8, 72, 72, alive_mask=True),
    Case("growing from a seed", 8, 72, 72, steps=64, alive_mask=True, from_seed=True),
    Case("learned filters", 8, 72, 72, learned_filters=2),
    Case("small images", 32, 28, 28),
    Case("one small grid", 1, 32, 32),
    Case("one large grid", 1, 256, 256),
    Case("few steps", 8, 72, 72, steps=8),
    Case("many steps", 4, 48, 48, steps=128),
]

# What each contender adds to a plain rollout; see ncalab.core.rollout.
ENGINES: dict[str, Checkpoint] = {"fused": None, "fused, recomputing": "auto"}


def contenders(nca: AbstractNCAModel, x: Tensor, steps: int) -> dict[str, Callable[[], Tensor]]:
    """Return rollouts by the name of what runs them."""
    runs: dict[str, Callable[[], Tensor]] = {"eager": partial(eager_rollout, nca, x, steps)}
    for name, checkpoint in ENGINES.items():
        runs[name] = partial(rollout, nca, x, steps, seed=1, engine="fused", checkpoint=checkpoint)
    return runs


def forward(nca: AbstractNCAModel, run: Callable[[], Tensor]) -> None:
    """Run the steps without gradients."""
    del nca
    with torch.no_grad():
        run()


def training(nca: AbstractNCAModel, run: Callable[[], Tensor]) -> None:
    """Run the steps and their backward pass."""
    nca.zero_grad()
    run()[:, :4].square().mean().backward()


KINDS = {"forward": forward, "training": training}


def runs_of(case: Case, kind: str) -> dict[str, Run]:
    """Return what is timed, by contender; recomputing only where there is a backward pass."""
    nca = case.model()
    x = case.states(nca)
    runs = contenders(nca, x, case.steps)
    if kind == "forward":
        del runs["fused, recomputing"]
    return {name: partial(KINDS[kind], nca, run) for name, run in runs.items()}
