"""Say what a training step spends its time on, case by case, on one thread.

    python benchmarks/account.py
    python benchmarks/account.py --only classification --rounds 5

Each case runs in a fresh process; its step (forward pass, loss, backward pass, Adam) is the median
of several, in time on the processor. Parts by kind of work are those of steps in which the compiled
engine measures itself, which takes about a tenth longer; the rest is that, the loss, Adam, Python,
and states that are brought into the engine's order and back. Products are counted: a step forward
takes two for each cell that fires, and going back another four; where the engine computes the first
one again, that counts as time, not as work. "floor" is what they take at the rate of this core for
large matrices (torch.mm, 1024 x 1024), and "share" the part of the step that this is.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

import torch
from example_cases import EXAMPLES, KINDS, Example
from machine import describe_machine
from measure import seconds
from table import markdown_table

from ncalab.core import AbstractNCAModel, pad_input
from ncalab.core.export.rollout import export_plan
from ncalab.core.rollout.cpu.compiled import timing

WORK = timing.KINDS
SIDE = 1024


def product_rate(rounds: int = 8) -> float:
    """Return the highest rate of a large product, in floating-point operations per second."""
    matrix, out = torch.rand(SIDE, SIDE), torch.empty(SIDE, SIDE)
    times = [
        seconds(lambda: torch.mm(matrix, matrix, out=out), time.process_time) for _ in range(rounds)
    ]
    return 2 * SIDE**3 / min(times)


def needed_operations(model: AbstractNCAModel, example: Example) -> float:
    """Return the operations of the products of a training step, 0 where an alive mask decides."""
    if model.use_alive_mask:
        return 0
    plan = export_plan(model)
    first = x = pad_input(example.images(model), model)
    total = 0.0
    for place, steps in enumerate(plan.share(torch.tensor(example.steps))):
        own = plan.models[place]
        x = plan.enter(place, x, first)
        cells = float(x[:, 0].numel() * int(steps) * own.fire_rate)
        mutable = own.num_channels - own.immutable_image_channels * own.num_image_channels
        hidden = own.rule.get_parameter("network.0.weight").shape[0]
        total += 6 * cells * hidden * (own.perception.output_size + mutable)
    return total


def account(example: Example, rounds: int) -> dict[str, Any]:
    """Return the milliseconds of a step and of its products' floor, and parts by kind of work."""
    model = example.model()
    run = KINDS["train"](model, example, eager=False)
    run()
    steps, accounts = [], []
    for _ in range(rounds):
        steps.append(seconds(run, time.process_time))
        with timing.timed() as spent:
            total = seconds(run, time.process_time)
        accounts.append({**spent, "rest": total - sum(spent.values())})
    operations, rate = needed_operations(model, example), product_rate()
    middle = {kind: statistics.median(each[kind] for each in accounts) for kind in accounts[0]}
    return {
        "step": 1e3 * statistics.median(steps),
        "parts": {kind: took / sum(middle.values()) for kind, took in middle.items()},
        "floor": 1e3 * operations / rate,
        "rate": rate / 1e9,
    }


def in_own_process(name: str, rounds: int) -> dict[str, Any]:
    """Run this file on one case in a new process."""
    command = [sys.executable, __file__, "--rounds", str(rounds), "--case", name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def row(name: str, found: dict[str, Any]) -> list[str]:
    """Return one line of the table."""
    step, floor = found["step"], found["floor"]
    parts = [f"{100 * found['parts'][kind]:.0f}" for kind in (*WORK, "rest")]
    known = [f"{floor:.0f}", f"{100 * floor / step:.0f} %"] if floor else ["", ""]
    return [name, f"{step:.0f}", *parts, *known]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], help="cases whose names begin so")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case is not None:
        torch.set_num_threads(1)
        example = next(each for each in EXAMPLES if each.name == arguments.case)
        print(json.dumps(account(example, arguments.rounds)))
        return
    print(", ".join(f"{key} {value}" for key, value in describe_machine().items() if value))
    lines, rates = [], []
    for example in EXAMPLES:
        if arguments.only and not example.name.startswith(tuple(arguments.only)):
            continue
        found = in_own_process(example.name, arguments.rounds)
        rates.append(found["rate"])
        lines.append(row(example.name, found))
        print(*lines[-1], flush=True)
    print(f"\ntorch.mm on one thread: {statistics.median(rates):.0f} GFLOP/s\n")
    head = ["case", "step, ms", *(f"{kind}, %" for kind in (*WORK, "rest")), "floor, ms", "share"]
    print(markdown_table(head, lines))


if __name__ == "__main__":
    main()
