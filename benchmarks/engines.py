"""Time the rollout engines against each other, in one process and in turn.

    nox -s bench
    python benchmarks/engines.py --rounds 9 --json engines.json

Prints, for each case, milliseconds per step (medians) and the ratio reference / fused: the median
of the ratios of neighbouring measurements, which a machine whose speed drifts does not distort.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ncalab.core.rollout import Engine
from ncalab.tasks import GrowingNCAModel

STEPS = 32


@dataclass(frozen=True)
class Case:
    """One model and one kind of state."""

    name: str
    batch: int
    side: int
    alive_mask: bool
    from_seed: bool

    def model(self) -> GrowingNCAModel:
        """Return a model whose rule does something, but little, so that states stay in range."""
        torch.manual_seed(0)
        nca = GrowingNCAModel(
            torch.device("cpu"), num_hidden_channels=12, use_alive_mask=self.alive_mask
        )
        torch.nn.init.normal_(nca.rule.get_parameter("network.2.weight"), std=0.01)
        return nca

    def states(self, nca: GrowingNCAModel) -> Tensor:
        """Return states, shape ``(batch, 16, side, side)``."""
        if self.from_seed:
            return nca.make_seed(self.side, self.side).repeat(self.batch, 1, 1, 1)
        return torch.rand(self.batch, nca.num_channels, self.side, self.side)


CASES = [
    Case("full grid", 8, 72, alive_mask=False, from_seed=False),
    Case("full grid, alive mask", 8, 72, alive_mask=True, from_seed=False),
    Case("growing from a seed", 8, 72, alive_mask=True, from_seed=True),
    Case("one small grid", 1, 32, alive_mask=False, from_seed=False),
    Case("one large grid", 1, 256, alive_mask=False, from_seed=False),
]


def forward(nca: GrowingNCAModel, x: Tensor, engine: Engine) -> None:
    """Run the steps without gradients."""
    with torch.no_grad():
        nca(x, STEPS, seed=1, engine=engine)


def training(nca: GrowingNCAModel, x: Tensor, engine: Engine) -> None:
    """Run the steps and their backward pass."""
    nca.zero_grad()
    nca(x, STEPS, seed=1, engine=engine).image_channels.square().mean().backward()


def seconds(run: Callable[[], None]) -> float:
    """Time one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def compare(case: Case, kind: Callable[..., None], rounds: int) -> dict[str, float]:
    """Return medians in milliseconds per step, and the median ratio."""
    nca = case.model()
    x = case.states(nca)
    engines: tuple[Engine, Engine] = ("reference", "fused")
    for engine in engines:
        kind(nca, x, engine)
    runs = [partial(kind, nca, x, engine) for engine in engines]
    pairs = [[seconds(run) for run in runs] for _ in range(rounds)]
    reference, fused = (
        statistics.median(times) * 1e3 / STEPS for times in zip(*pairs, strict=True)
    )
    ratio = statistics.median(slow / fast for slow, fast in pairs)
    return {"reference": reference, "fused": fused, "ratio": ratio}


def main() -> None:
    """Run all cases and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each engine")
    parser.add_argument("--json", type=Path, help="where to write the figures, too")
    arguments = parser.parse_args()

    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"| case | B x W x H | | reference ms | fused ms | ratio |\n|{'---|' * 6}")
    results = []
    for case in CASES:
        for kind in (forward, training):
            figures = compare(case, kind, arguments.rounds)
            shape = f"{case.batch} x {case.side} x {case.side}"
            row = f"{figures['reference']:.2f} | {figures['fused']:.2f} | {figures['ratio']:.1f}"
            print(f"| {case.name} | {shape} | {kind.__name__} | {row} |", flush=True)
            results.append({"case": case.name, "kind": kind.__name__, **figures})
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
