"""Tables and plots of what the benchmarks measured."""

from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import Patch
from table import markdown_table

# Okabe and Ito's palette, which colour-blind readers tell apart.
COLOURS = {
    "eager": "#999999",
    "fused": "#0072B2",
    "fused, recomputing": "#56B4E9",
    "cax": "#E69F00",
}


def tables(report: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    machine = ", ".join(f"{name} {value}" for name, value in report["machine"].items() if value)
    parts = [f"Machine: {machine}."]
    for kind in ("forward", "training"):
        rows = [row for row in report["times"] if row["kind"] == kind]
        parts += ["", f"**{kind.capitalize()}**, milliseconds per step:", "", _times(rows)]
    parts += ["", "**Memory** that training adds to the peak, MiB:", "", _memory(report["memory"])]
    return "\n".join(parts) + "\n"


def _times(rows: list[dict[str, Any]]) -> str:
    names = [name for name in COLOURS if any(name in row["ms_per_step"] for row in rows)]
    slower = [name for name in names if name != "fused"]
    head = ["case", "B x W x H", "steps", *names, *(f"{name} / fused" for name in slower)]
    lines = []
    for row in rows:
        times = [_number(row["ms_per_step"].get(name), 2) for name in names]
        ratios = [_number(row["ratios"].get(name), 1, "x") for name in slower]
        lines.append([row["case"], row["shape"], str(row["steps"]), *times, *ratios])
    return markdown_table(head, lines)


def _memory(rows: list[dict[str, Any]]) -> str:
    names = list(rows[0]["mib"])
    head = ["case", "B x W x H", "steps", *names]
    lines = [
        [row["case"], row["shape"], str(row["steps"])]
        + [_number(row["mib"][name], 0) for name in names]
        for row in rows
    ]
    return markdown_table(head, lines)


def _number(value: float | None, digits: int, unit: str = "") -> str:
    return "" if value is None else f"{value:.{digits}f}{unit}"


def plot_cases(report: dict[str, Any], path: Path) -> None:
    """Draw milliseconds per step of every contender in every case."""
    figure = Figure(figsize=(9, 6), layout="constrained")
    for kind, axes in zip(("forward", "training"), figure.subplots(1, 2), strict=True):
        rows = [row for row in report["times"] if row["kind"] == kind]
        for place, row in enumerate(rows):
            names = [name for name in COLOURS if name in row["ms_per_step"]]
            height = 0.8 / len(names)
            for i, name in enumerate(names):
                value = row["ms_per_step"][name]
                axes.barh(place - 0.4 + (i + 0.5) * height, value, height, color=COLOURS[name])
        axes.set_yticks(range(len(rows)), [row["case"] for row in rows])
        axes.set_xscale("log")
        axes.invert_yaxis()
        axes.set_title(kind)
        axes.set_xlabel("ms per step")
    names = list(dict.fromkeys(n for row in report["times"] for n in row["ms_per_step"]))
    handles = [Patch(color=COLOURS[name]) for name in names]
    figure.legend(handles, names, loc="outside lower center", ncols=len(names))
    figure.savefig(path, dpi=100)


def plot_scaling(report: dict[str, Any], path: Path) -> None:
    """Draw the time of a rollout over cells and over steps, beside straight lines."""
    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for axes, rows, quantity in (
        (left, report["by_cells"], "cells"),
        (right, report["by_steps"], "steps"),
    ):
        amounts = [row[quantity] for row in rows]
        times = [row["s"] for row in rows]
        line = [times[-1] * amount / amounts[-1] for amount in amounts]
        axes.loglog(amounts, line, color=COLOURS["eager"], linestyle="--", label="linear")
        axes.loglog(amounts, times, "o-", color=COLOURS["fused"], label="fused, forward")
        axes.set_xlabel(quantity)
        axes.set_ylabel("seconds")
        axes.legend()
    figure.savefig(path, dpi=100)
