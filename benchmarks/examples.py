"""Time the models that users train against plain eager steps, and weigh what training keeps.

    python benchmarks/examples.py
    python benchmarks/examples.py --only classification depth --threads 1 --seconds 10
    python benchmarks/examples.py --output docs/_static/benchmarks

A prediction is that of ``model.predict``; a training step is forward pass, loss, backward pass and
Adam. Each row runs in a fresh process, in which the contenders take turns: "eager", steps as the
literature writes them (``eager.py``), and "compiled", the library. With ``--operations`` there is a
third, the library's engine of PyTorch operations, which serves where nothing is compiled. Times are
those on the processor for one thread, which other programs disturb least, and those on the wall for
several. A ratio is the median of the ratios of neighbouring measurements. Memory is by how much one
training step raises the peak of a process. Writes examples.json and, worst row first, examples.md
into the output folder; rows that are not measured again stay as they are.
"""

import argparse
import copy
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cax_case
import torch
from example_cases import EXAMPLES, KINDS, Example
from machine import describe_machine
from measure import clock_of, peak_mib, seconds
from table import markdown_table

from ncalab.core.rollout.cpu import compiled

CONTENDERS = ("eager", "operations", "compiled")
CAX_KINDS = {"predict": "forward", "train": "training"}
FEWEST_ROUNDS = 3
Row = dict[str, Any]


@dataclass(frozen=True)
class Suite:
    """Cases that are measured together.

    Attributes:
        name: Of the files that hold the figures.
        script: The program that measures them.
        cases: The cases.
        with_cax: Names of those that cax runs, too, where it is installed.
    """

    name: str
    script: str
    cases: Sequence[Example]
    with_cax: Sequence[str] = ()


SUITE = Suite("examples", __file__, EXAMPLES)


@contextmanager
def engine_of(contender: str) -> Iterator[None]:
    """Let rollouts run on PyTorch operations where the contender asks for it."""
    before = compiled.why_not_compiled
    if contender == "operations":
        compiled.why_not_compiled = lambda model, x: "it is not wanted"  # noqa: ARG005
    try:
        yield
    finally:
        compiled.why_not_compiled = before


def timed(contender: str, run: Callable[[], object]) -> float:
    """Time one call on a contender's engine."""
    with engine_of(contender):
        return seconds(run, clock_of(torch.get_num_threads()))


def run_of(contender: str, kind: str, example: Example) -> Callable[[], object]:
    """Return what is timed."""
    if contender == "cax":
        own = cax_case.CaxCase(example.batch, example.grid, example.steps)
        return cax_case.runs_of(own, CAX_KINDS[kind])["cax"]
    return KINDS[kind](example.model(), example, eager=contender == "eager")


def measure_times(example: Example, contenders: Sequence[str], budget: float) -> Row:
    """Return milliseconds and ratios to the last contender, by kind of work."""
    found: Row = {"ms": {}, "ratio": {}}
    for kind in KINDS:
        runs = {name: run_of(name, kind, example) for name in contenders}
        for name, run in runs.items():
            timed(name, run)
        turns: list[list[float]] = []
        start = time.perf_counter()
        while len(turns) < FEWEST_ROUNDS or time.perf_counter() - start < budget:
            turns.append([timed(name, run) for name, run in runs.items()])
        times = dict(zip(contenders, zip(*turns, strict=True), strict=True))
        own = times[contenders[-1]]
        for name, values in times.items():
            found["ms"][f"{kind} {name}"] = 1e3 * statistics.median(values)
            if values is not own:
                ratio = statistics.median(a / b for a, b in zip(values, own, strict=True))
                found["ratio"][f"{kind} {name}"] = ratio
    return found


def measure_memory(example: Example, contenders: Sequence[str]) -> Row:
    """Return by how many MiB a training step of the one contender raises the peak of memory."""
    (name,) = contenders
    model = example.model()
    few = replace(example, batch=1, grid=(8,) * len(example.grid), steps=4, from_pool=False)
    with engine_of(name):
        KINDS["train"](copy.deepcopy(model), few, eager=name == "eager")()
        run = KINDS["train"](model, example, eager=name == "eager")
        before = peak_mib()
        run()
    return {"mib": {name: peak_mib() - before}}


def in_own_process(script: str, **task: Any) -> Row:
    """Run a program of measurements on a task in a new process."""
    command = [sys.executable, script, "--task", json.dumps(task)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{task} failed:\n{done.stderr}")
    row: Row = json.loads(done.stdout.splitlines()[-1])
    return row


def run_task(
    suite: Suite,
    name: str,
    threads: int,
    contenders: Sequence[str],
    seconds: float | None,
    steps: int,
) -> Row:
    """Measure times within so many seconds for each kind of work, or memory if that is None."""
    torch.set_num_threads(threads)
    example = next(replace(each, steps=steps) for each in suite.cases if each.name == name)
    if seconds is None:
        return measure_memory(example, contenders)
    return measure_times(example, contenders, seconds)


def measure_row(
    suite: Suite, example: Example, threads: int, known: Row, arguments: argparse.Namespace
) -> Row:
    """Measure what is asked for of one row; the rest stays as it is known."""
    contenders = [n for n in CONTENDERS if n != "operations" or arguments.operations]
    steps = arguments.steps or example.steps
    task = {"name": example.name, "threads": threads, "steps": steps}
    row: Row = {**known, **task, "shape": example.shape}
    if "times" in arguments.measure:
        found = in_own_process(
            suite.script, **task, contenders=contenders, seconds=arguments.seconds
        )
        row |= {key: row.get(key, {}) | values for key, values in found.items()}
        if example.name in suite.with_cax and cax_case.available() is not None:
            # Apart from plain steps, which would profit from the blocks that JAX has freed.
            found = in_own_process(
                suite.script, **task, contenders=["cax", "compiled"], seconds=arguments.seconds
            )
            row["ratio"] = row["ratio"] | found["ratio"]
    if "memory" in arguments.measure:
        for name in contenders:
            weighed = in_own_process(suite.script, **task, contenders=[name], seconds=None)
            row["mib"] = row.get("mib", {}) | weighed["mib"]
    return row


def worst(row: Row) -> float:
    """Return the lowest ratio to a plain eager step; infinity if there is none."""
    ratios: dict[str, float] = row.get("ratio", {})
    of_eager = [ratio for name, ratio in ratios.items() if name.endswith("eager")]
    return min(of_eager, default=math.inf)


def report(rows: Sequence[Row]) -> str:
    """Return the tables, worst row first."""
    rows = sorted(rows, key=worst)
    head = ["case", "batch and grid", "steps", "threads", "predict, ms", "train, ms"]
    head += ["predict, eager / ncalab", "train, eager / ncalab", "training, MiB", "eager, MiB"]
    lines = [
        [row["name"], row["shape"], str(row["steps"]), str(row["threads"])]
        + [number(row, "ms", f"{kind} compiled", 1) for kind in KINDS]
        + [number(row, "ratio", f"{kind} eager", 1) for kind in KINDS]
        + [number(row, "mib", name, 0) for name in ("compiled", "eager")]
        for row in rows
    ]
    others = compare_threads(rows), compare_engines(rows), compare_cax(rows)
    return markdown_table(head, lines) + "".join(others)


def compare_threads(rows: Sequence[Row]) -> str:
    """Return how many times as fast several threads are as one, where both were measured."""
    alone = {row["name"]: row for row in rows if row["threads"] == 1 and "ms" in row}
    lines = []
    for row in rows:
        if row["threads"] == 1 or row["name"] not in alone or "ms" not in row:
            continue
        names = [f"{kind} compiled" for kind in KINDS]
        gains = [alone[row["name"]]["ms"][name] / row["ms"][name] for name in names]
        lines.append(
            [row["name"], row["shape"], str(row["threads"]), *(f"{gain:.2f}" for gain in gains)]
        )
    if not lines:
        return ""
    lines.sort(key=lambda line: line[-1])
    head = ["case", "batch and grid", "threads", "predict", "train"]
    return "\n\n**Several threads, times as fast as one:**\n\n" + markdown_table(head, lines)


def compare_engines(rows: Sequence[Row]) -> str:
    """Return the compiled engine beside that of PyTorch operations, where it was measured."""
    rows = [row for row in rows if "train operations" in row.get("ratio", {})]
    if not rows:
        return ""
    rows.sort(key=lambda row: float(row["ratio"]["train operations"]))
    head = ["case", "threads", "predict, operations / compiled", "train, operations / compiled"]
    head += ["training, compiled, MiB", "training, operations, MiB"]
    lines = [
        [row["name"], str(row["threads"])]
        + [number(row, "ratio", f"{kind} operations", 1) for kind in KINDS]
        + [number(row, "mib", name, 0) for name in ("compiled", "operations")]
        for row in rows
    ]
    return "\n\n**Compiled, and on PyTorch operations:**\n\n" + markdown_table(head, lines)


def compare_cax(rows: Sequence[Row]) -> str:
    """Return how many times as long cax takes, where it was measured."""
    rows = [row for row in rows if "train cax" in row.get("ratio", {})]
    if not rows:
        return ""
    head = ["case", "batch and grid", "threads", "predict, cax / ncalab", "train, cax / ncalab"]
    lines = [
        [row["name"], row["shape"], str(row["threads"])]
        + [number(row, "ratio", f"{kind} cax", 1) for kind in KINDS]
        for row in rows
    ]
    return "\n\n**cax, whose step is compiled for the processor by JAX:**\n\n" + markdown_table(
        head, lines
    )


def number(row: Row, quantity: str, name: str, digits: int) -> str:
    """Return one figure of a row; nothing where it was not measured."""
    value = row.get(quantity, {}).get(name)
    return "" if value is None else f"{value:.{digits}f}"


def known_rows(path: Path) -> dict[str, Row]:
    """Return the rows that an earlier run has measured, by case and threads."""
    if not path.exists():
        return {}
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    return {f"{row['name']}, {row['threads']}": row for row in rows}


def parse(suite: Suite, description: str) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=description)
    names = [example.name for example in suite.cases]
    parser.add_argument("--only", nargs="*", default=[], help="cases whose names begin so")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=5.0, help="for each kind of each case")
    parser.add_argument(
        "--measure", nargs="+", default=["times", "memory"], choices=["times", "memory"]
    )
    parser.add_argument("--steps", type=int, help="of every rollout, in place of the cases' own")
    parser.add_argument("--operations", action="store_true", help="measure that engine, too")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="folder")
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    for start in arguments.only:
        if not any(name.startswith(start) for name in names):
            parser.error(f"--only must begin one of {'; '.join(names)}, got {start}")
    return arguments


def main(suite: Suite, arguments: argparse.Namespace) -> None:
    """Measure the rows, and write them beside those known before."""
    arguments.output.mkdir(parents=True, exist_ok=True)
    path = arguments.output / f"{suite.name}.json"
    rows = known_rows(path)
    for example in suite.cases:
        if arguments.only and not example.name.startswith(tuple(arguments.only)):
            continue
        for threads in arguments.threads:
            key = f"{example.name}, {threads}"
            rows[key] = row = measure_row(suite, example, threads, rows.get(key, {}), arguments)
            print(f"{example.name}, {threads} threads: {worst(row):.2f}", flush=True)
            found = {"machine": describe_machine(), "rows": list(rows.values())}
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    machine = ", ".join(f"{key} {value}" for key, value in describe_machine().items() if value)
    text = f"Machine: {machine}.\n\n{report(list(rows.values()))}\n"
    path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def run(suite: Suite, description: str) -> None:
    """Measure what the command line asks for."""
    chosen = parse(suite, description)
    if chosen.task is None:
        main(suite, chosen)
    else:
        print(json.dumps(run_task(suite, **json.loads(chosen.task))))


if __name__ == "__main__":
    run(SUITE, __doc__.splitlines()[0])
