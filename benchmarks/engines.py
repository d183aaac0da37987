"""Time the rollout engines side by side, and weigh what they keep for the backward pass.

    nox -s bench
    nox -s bench -- --rounds 9 --output docs/_static/benchmarks

Each case and kind runs in a process of its own, in which the contenders take turns; a ratio is the
median of the ratios of neighbouring measurements, which a machine whose speed drifts does not
distort. Writes engines.md (tables), engines.json and engines.png into the output folder. Where cax
is installed (https://github.com/maxencefaldor/cax), it is a contender, too.
"""

import argparse
import json
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cax_case
import torch
from cases import CASES, KINDS, Case
from machine import describe_machine
from measure import Figures, in_own_process
from report import plot_cases, plot_scaling, tables

SIDES = (32, 64, 128, 256, 512, 1024, 2048)
STEPS = (8, 16, 32, 64, 128, 256)
# Its training takes a minute a case, and its steps cost the same whatever the states.
WITH_CAX = ("full grid",)
NAME = "engines.json"
WEIGHED = ("eager", "fused", "fused, recomputing")


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    return {**describe_machine(), "cax": cax_case.available()}


def compare(case: Case, kind: str, rounds: int, *, cax: bool) -> dict[str, Any]:
    """Return medians in milliseconds per step, and ratios to the fused engine."""
    task = {"case": asdict(case), "kind": kind, "rounds": rounds}
    task["threads"] = torch.get_num_threads()
    processes = [in_own_process(**task)]
    if cax:
        processes.append(in_own_process(**task, cax=True))
    times: dict[str, float] = {}
    in_turn: dict[str, float] = {}
    for measured in reversed(processes):
        times |= {name: statistics.median(values) for name, values in measured.items()}
        in_turn |= ratios(measured)
    return {
        "case": case.name,
        "shape": case.shape,
        "steps": case.steps,
        "kind": kind,
        "ms_per_step": times,
        "ratios": in_turn,
    }


def ratios(times: Figures) -> dict[str, float]:
    """Return how many times as long as the fused engine each contender takes."""
    return {
        name: statistics.median(a / b for a, b in zip(values, times["fused"], strict=False))
        for name, values in times.items()
        if name != "fused"
    }


def weigh(case: Case) -> dict[str, Any]:
    """Return by how many MiB training raises the peak of memory, for each contender."""
    threads = torch.get_num_threads()
    figures: dict[str, float] = {}
    for contender in WEIGHED:
        found = in_own_process(case=asdict(case), contender=contender, threads=threads)
        figures[contender] = found[contender][0]
    return {"case": case.name, "shape": case.shape, "steps": case.steps, "mib": figures}


def scale(cases: list[Case], rounds: int) -> list[dict[str, Any]]:
    """Return seconds per rollout of the fused engine, forward, by cells and steps."""
    results = []
    threads = torch.get_num_threads()
    for case in cases:
        times = in_own_process(
            case=asdict(case), kind="forward", rounds=rounds, only="fused", threads=threads
        )
        seconds = statistics.median(times["fused"]) * case.steps / 1e3
        results.append({"cells": case.width * case.height, "steps": case.steps, "s": seconds})
        print(f"  {case.shape}, {case.steps} steps: {seconds:.3f} s", flush=True)
    return results


def known_of_others(folder: Path, cases: list[str]) -> dict[str, Any]:
    """Return what an earlier run in the folder measured of other cases than the given ones."""
    path = folder / NAME
    if not cases or not path.exists():
        return {"times": [], "memory": []}
    known: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for kind in ("times", "memory"):
        known[kind] = [row for row in known[kind] if row["case"] not in cases]
    del known["machine"]
    return known


def in_order(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sort rows as the cases are listed."""
    places = {case.name: place for place, case in enumerate(CASES)}
    return sorted(rows, key=lambda row: places[row["case"]])


def main() -> None:
    """Run all cases, print tables and write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements of each contender")
    parser.add_argument(
        "--cases", nargs="*", default=[], help="measure these cases, keep what is known of others"
    )
    parser.add_argument("--no-scaling", action="store_true", help="leave out the long part")
    parser.add_argument("--output", type=Path, default=Path("runs/bench"), help="folder")
    arguments = parser.parse_args()
    known = [case.name for case in CASES]
    if unknown := set(arguments.cases) - set(known):
        parser.error(f"--cases must be of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    chosen = [case for case in CASES if not arguments.cases or case.name in arguments.cases]

    report = {"machine": machine(), **known_of_others(arguments.output, arguments.cases)}
    print(report["machine"])
    arguments.output.mkdir(parents=True, exist_ok=True)
    for case in chosen:
        for kind in KINDS:
            cax = report["machine"]["cax"] is not None and case.name in WITH_CAX
            result = compare(case, kind, arguments.rounds, cax=cax)
            report["times"].append(result)
            print(result["case"], kind, result["ms_per_step"], result["ratios"], flush=True)
        report["memory"].append(weigh(case))
        print(report["memory"][-1]["mib"], flush=True)
        write(report, arguments.output)
    if not arguments.no_scaling:
        report["by_cells"] = scale([Case("cells", 1, n, n, steps=8) for n in SIDES], 3)
        report["by_steps"] = scale([Case("steps", 1, 128, 128, steps=n) for n in STEPS], 3)
        write(report, arguments.output)
    print(f"\n{tables(report)}\ntables, figures and plots: {arguments.output}")


def write(report: dict[str, Any], folder: Path) -> None:
    """Write what has been measured so far, as data, tables and plots."""
    for rows in ("times", "memory"):
        report[rows] = in_order(report[rows])
    (folder / NAME).write_text(json.dumps(report, indent=2) + "\n")
    (folder / "engines.md").write_text(tables(report))
    plot_cases(report, folder / "engines.png")
    if "by_cells" in report:
        plot_scaling(report, folder / "scaling.png")


if __name__ == "__main__":
    main()
