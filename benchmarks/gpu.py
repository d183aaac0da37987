"""Time the CUDA engine on a GPU: against plain eager, against cax, and against the roofline.

    python benchmarks/gpu.py
    python benchmarks/gpu.py --rounds 9 --steps 64 --json gpu.json

One process, contenders in alternation, medians; a ratio is the median of the ratios of neighbouring
measurements. Memory is the peak of training above what the model and the states take. The roofline
counts the bytes that the kernels must move and the operations they must do, and divides them by the
rates that a copy and a matrix product reach on the same device.
"""

import argparse
import importlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from eager import eager_rollout
from torch import Tensor

from ncalab.core import GatedNCARule
from ncalab.core.fire import FireClock
from ncalab.core.perception import LearnedView, ViewsNCAPerception
from ncalab.core.rollout import rollout, without_cuda_graphs
from ncalab.core.rollout.cuda import engine as cuda
from ncalab.core.rollout.cuda.precision import Precision
from ncalab.tasks import GrowingNCAModel

Run = Callable[[], object]
Figures = dict[str, Any]

PRECISIONS: tuple[Precision, ...] = ("float32", "tf32x3", "tf32", "bfloat16")
YARDSTICKS = ("eager", "eager float32")
KINDS = ("forward", "training")
MIB = 2**20


# Cells that the CUDA engine may not serve; where it does not, "library" is what serves them.
OTHERS: dict[str, dict[str, Any]] = {
    "two branches, one of them dilated": {
        "perception_type": ViewsNCAPerception,
        "perception_args": {"views": [LearnedView, (LearnedView, {"dilation": 2})]},
    },
    "five goals": {"goal_size": 5, "num_goals": 5},
    "three layers": {"rule_args": {"hidden_layers": 2}},
    "gated rule": {"rule_type": GatedNCARule},
}


@dataclass(frozen=True)
class Case:
    """A model of the common size on a square grid."""

    name: str
    batch: int
    width: int
    height: int
    steps: int
    alive_mask: bool = False
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def cells(self) -> int:
        """Number of cells of the batch."""
        return self.batch * self.width * self.height

    def model(self, device: torch.device) -> GrowingNCAModel:
        """Return a model whose rule does something, but little, so that states stay in range."""
        torch.manual_seed(0)
        nca = GrowingNCAModel(
            device, num_hidden_channels=12, use_alive_mask=self.alive_mask, **self.arguments
        )
        # Rules start from zero.
        for parameter in nca.rule.parameters():
            if not parameter.count_nonzero():
                torch.nn.init.normal_(parameter, std=0.01)
        return nca

    def goal(self, nca: GrowingNCAModel) -> Tensor | None:
        """Return the goal of every sample, as an index; None for a model without."""
        if nca.num_goals is None:
            return None
        return torch.arange(self.batch, device=nca.device) % nca.num_goals

    def states(self, nca: GrowingNCAModel) -> Tensor:
        """Return states, shape ``(batch, 16, width, height)``."""
        shape = (self.batch, nca.num_channels, self.width, self.height)
        return torch.rand(shape, device=nca.device)


def cases(steps: int) -> list[Case]:
    """Return the cases: bound by launches, bound by the device, with an alive mask, other cells.

    A step of plain eager on the large grid keeps some 3 GB for its backward pass: it gets fewer.
    """
    grids = [
        Case("small grid", 8, 72, 72, steps),
        Case("large grid", 8, 512, 512, -(-steps // 4)),
        Case("small grid, alive mask", 8, 72, 72, steps, alive_mask=True),
    ]
    others = [
        Case(name, 8, 72, 72, steps, arguments=arguments) for name, arguments in OTHERS.items()
    ]
    return [*grids, *others]


# Contenders


def fused_rollout(nca: GrowingNCAModel, x: Tensor, steps: int, precision: Precision) -> Tensor:
    """Take steps on the CUDA engine, for models without a goal."""
    clock = FireClock(1, nca.fire_rate, range(len(x)), 0, steps, x.device)
    return cuda.run(nca, x, clock, precision=precision)


def library_rollout(
    nca: GrowingNCAModel, x: Tensor, steps: int, goal: Tensor | None = None
) -> Tensor:
    """Take steps on whatever engine the library chooses."""
    return rollout(nca, x, steps, seed=1, goal=goal)


def forward(take: Callable[..., Tensor], nca: GrowingNCAModel, x: Tensor, steps: int) -> None:
    """Run the steps without gradients."""
    with torch.no_grad():
        take(nca, x, steps)


def training(take: Callable[..., Tensor], nca: GrowingNCAModel, x: Tensor, steps: int) -> None:
    """Run the steps and their backward pass."""
    nca.zero_grad()
    take(nca, x, steps)[:, :4].square().mean().backward()


def with_full_float32(run: Run) -> None:
    """Call with convolutions in full float32; by default, torch lets cuDNN use TF32."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        run()
    finally:
        torch.backends.cudnn.allow_tf32 = before


def without_graphs(run: Run) -> None:
    """Call with every kernel launched by itself."""
    with without_cuda_graphs():
        run()


def contenders(case: Case, kind: str, device: torch.device) -> dict[str, Run]:
    """Return what is compared, by name."""
    nca = case.model(device)
    x, goal = case.states(nca), case.goal(nca)
    call = {"forward": forward, "training": training}[kind]
    eager = partial(call, partial(eager_rollout, goal=goal), nca, x, case.steps)
    runs: dict[str, Run] = {"eager": eager, "eager float32": partial(with_full_float32, eager)}
    if cuda.why_not_cuda(nca, x) is not None:
        runs["library"] = partial(call, partial(library_rollout, goal=goal), nca, x, case.steps)
        return runs
    for precision in PRECISIONS:
        fused = partial(fused_rollout, precision=precision)
        runs[precision] = partial(call, fused, nca, x, case.steps)
    if kind == "forward":
        runs["float32, no graph"] = partial(without_graphs, runs["float32"])
    return runs | cax_runs(case, kind)


def cax_runs(case: Case, kind: str) -> dict[str, Run]:
    """Return cax's run, where it is installed; JAX must see the GPU, too."""
    if importlib.util.find_spec("cax") is None or importlib.util.find_spec("cax_case") is None:
        return {}
    cax = importlib.import_module("cax_case")
    own = cax.CaxCase(case.batch, (case.width, case.height), case.steps, case.alive_mask)
    runs: dict[str, Run] = cax.runs_of(own, kind)
    return runs


# Measurements


def seconds(run: Run, device: torch.device) -> float:
    """Time one call, to the end of its work on the device."""
    synchronize(device)
    start = time.perf_counter()
    run()
    synchronize(device)
    return time.perf_counter() - start


def synchronize(device: torch.device) -> None:
    """Wait for the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(case: Case, kind: str, rounds: int, device: torch.device) -> dict[str, Figures]:
    """Return, for each contender, its time and how many times as fast as plain eager it is."""
    runs = {name: run for name, run in contenders(case, kind, device).items() if fits(name, run)}
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            times[name].append(seconds(run, device) * 1e3 / case.steps)
    return {
        name: {
            "ms per step": statistics.median(own),
            **{f"times {name}": ratio(times[name], own) for name in YARDSTICKS if name in times},
        }
        for name, own in times.items()
    }


def fits(name: str, run: Run) -> bool:
    """Warm up: compile in the first call, record in the second; false if memory runs out."""
    try:
        run()
        run()
    except torch.cuda.OutOfMemoryError:
        print(f"{name} ran out of memory", file=sys.stderr)
        return False
    return True


def ratio(slow: list[float], fast: list[float]) -> float:
    """Return the median of the ratios of neighbouring measurements."""
    return statistics.median(s / f for s, f in zip(slow, fast, strict=True))


def peak_memory(run: Run, device: torch.device) -> float:
    """Return by how many MiB a call raises what torch has allocated on the device."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    return (torch.cuda.max_memory_allocated(device) - before) / MIB


# The roofline


@dataclass(frozen=True)
class Ceilings:
    """Measure the bytes and float operations per second of the device."""

    bandwidth: float
    operations: dict[str, float]


def ceilings(device: torch.device, *, values: int = 2**28, side: int = 8192) -> Ceilings:
    """Measure a copy of 1 GiB, and matrix products of 8192 x 8192 in each precision."""
    buffers = torch.rand(2, values, device=device)
    copy = best(partial(buffers[0].copy_, buffers[1]), device)
    del buffers
    a = torch.rand(side, side, device=device)
    rates = {}
    before = torch.get_float32_matmul_precision()
    for precision, setting in (("float32", "highest"), ("tf32", "high")):
        torch.set_float32_matmul_precision(setting)
        rates[precision] = 2 * side**3 / best(partial(torch.mm, a, a), device)
    torch.set_float32_matmul_precision(before)
    b = a.bfloat16()
    rates["bfloat16"] = 2 * side**3 / best(partial(torch.mm, b, b), device)
    rates["tf32x3"] = rates["tf32"] / 3  # three products for one
    return Ceilings(2 * values * 4 / copy, rates)


def best(run: Run, device: torch.device) -> float:
    """Return the shortest of ten times, after a call to warm up."""
    run()
    return min(seconds(run, device) for _ in range(10))


def work_per_cell(kind: str, c: int = 16, n: int = 2, hidden: int = 128, k: int = 3) -> Figures:
    """Count bytes and operations of a cell and a step, without padding of tiles.

    Forward: the state is read and written. Backward: the rule's kernel reads state and gradient and
    writes the gradients of the cell's own state and of n views; the filters' kernel reads those and
    writes the gradient. A second round over hidden neurons, if a kernel needs one, is overhead.
    Each multiply-add is two operations.
    """
    state = 4 * c
    perception, into, out = 2 * k * k * n * c, 2 * (1 + n) * c * hidden, 2 * hidden * c
    figures = {"bytes": 2 * state, "operations": perception + into + out}
    if kind == "training":
        figures["bytes"] += (2 + 1 + n) * state + (1 + n + 1) * state
        # Perception and hidden neurons again; gradients of hidden neurons and of both layers'
        # weights, and of what was perceived; the filters' adjoint.
        figures["operations"] += perception + into + 2 * out + 2 * into + perception
    return figures


def distances(case: Case, kind: str, figures: dict[str, Figures], limit: Ceilings) -> None:
    """Add to the engine's figures what the roofline allows, and how far away they are."""
    work = work_per_cell(kind)
    for precision in (precision for precision in PRECISIONS if precision in figures):
        memory = work["bytes"] * case.cells / limit.bandwidth
        arithmetic = work["operations"] * case.cells / limit.operations[precision]
        own = figures[precision]
        own["roofline ms"] = max(memory, arithmetic) * 1e3
        own["bound by"] = "memory" if memory > arithmetic else "arithmetic"
        own["times roofline"] = own["ms per step"] / own["roofline ms"]


# Report


def row(name: str, own: Figures) -> str:
    """Return one contender's line of a table."""
    columns = [name, f"{own['ms per step']:.3f}"]
    columns += [
        f"{own[f'times {name}']:.2f}" if f"times {name}" in own else "" for name in YARDSTICKS
    ]
    columns.append(f"{own['MiB']:.0f}" if "MiB" in own else "")
    if "roofline ms" in own:
        columns += [f"{own['roofline ms']:.3f} ({own['bound by']})", f"{own['times roofline']:.1f}"]
    else:
        columns += ["", ""]
    return f"| {' | '.join(columns)} |"


HEADER = (
    "| | ms per step | times eager | times eager float32 | MiB | roofline ms | distance |\n"
    f"|{'---|' * 7}"
)


def report(case: Case, kind: str, rounds: int, device: torch.device, limit: Ceilings) -> Figures:
    """Measure a case, print its table and return its figures."""
    figures = measure(case, kind, rounds, device)
    distances(case, kind, figures, limit)
    if kind == "training":
        runs = contenders(case, kind, device)
        for name in {"eager", "library", "float32", "bfloat16"} & figures.keys():
            figures[name]["MiB"] = peak_memory(runs[name], device)
    print(f"\n{case.name}, {case.batch} x 16 x {case.width} x {case.height}, {kind}\n\n{HEADER}")
    for name, own in figures.items():
        print(row(name, own), flush=True)
    return {"case": case.name, "kind": kind, "contenders": figures}


def main() -> int:
    """Run all cases and print their tables; 1 where there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contender")
    parser.add_argument("--steps", type=int, default=64, help="steps of a rollout")
    parser.add_argument("--json", type=Path, help="where to write the figures, too")
    arguments = parser.parse_args()
    if not torch.cuda.is_available():
        print("There is no CUDA device here: nothing has been measured.", file=sys.stderr)
        return 1
    # JAX would otherwise take most of the device's memory at once.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    device = torch.device("cuda")
    limit = ceilings(device)
    name = torch.cuda.get_device_name(device)
    print(
        f"{name}, torch {torch.__version__}, Triton {importlib.import_module('triton').__version__}"
    )
    print(f"copy: {limit.bandwidth / 1e9:.0f} GB/s")
    for precision, rate in limit.operations.items():
        print(f"matrix product, {precision}: {rate / 1e12:.1f} TFLOP/s")
    results = [
        report(case, kind, arguments.rounds, device, limit)
        for case in cases(arguments.steps)
        for kind in KINDS
    ]
    if arguments.json is not None:
        summary = {"device": name, "ceilings": vars(limit), "results": results}
        arguments.json.write_text(json.dumps(summary, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
