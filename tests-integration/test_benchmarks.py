import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(BENCHMARKS / script), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_benchmark_writes_its_worst_row_first(tmp_path: Path) -> None:
    short = ["--only", "8 x 8", "--steps", "2", "--seconds", "0", "--output", str(tmp_path)]
    better = {
        "name": "of yesterday",
        "threads": 1,
        "shape": "1 x 2 x 3",
        "steps": 4,
        "ms": {"predict compiled": 1.0, "train compiled": 1.0},
        "ratio": {"predict eager": 1000.0, "train eager": 1000.0},
    }
    known = tmp_path / "examples.json"
    known.write_text(json.dumps({"rows": [better]}))

    run("examples.py", *short, "--threads", "1", "--measure", "times")

    rows = json.loads(known.read_text())["rows"]
    lines = (tmp_path / "examples.md").read_text().splitlines()
    assert [row["name"] for row in rows] == ["of yesterday", "8 x 8 grid"]
    places = [n for n, line in enumerate(lines) if line.startswith(("| 8 x 8", "| of yesterday"))]
    assert lines[places[0]].startswith("| 8 x 8") and len(places) == 2


def test_the_account_of_a_step_has_all_kinds_of_work() -> None:
    printed = run("account.py", "--only", "8 x 8", "--rounds", "1")

    head = next(line for line in printed.splitlines() if line.startswith("| case"))
    row = next(line for line in printed.splitlines() if line.startswith("| 8 x 8"))
    assert "products, %" in head and head.count("|") == row.count("|")
    shares = [int(cell) for cell in row.split("|")[3:12]]
    assert 90 < sum(shares) < 110


def test_trainings_beside_busy_processes_take_longer() -> None:
    printed = run("busy.py", "--only", "digits", "--samples", "48", "--rounds", "1")

    row = next(line for line in printed.splitlines() if line.startswith("| digits"))
    assert len([float(cell) for cell in row.split("|")[2:-1]]) == 5


def test_recipes_for_growing_are_compared_in_a_table(tmp_path: Path) -> None:
    picture = BENCHMARKS.parent / "examples" / "growing_emoji" / "lizard.png"
    known = tmp_path / "figures.json"

    # An option and its value stand side by side.
    options = [
        str(picture), "--recipes", "good", "before", "--seeds", "0", "1", "--seconds", "0.1",
        "--json", str(known),
    ]  # fmt: skip
    printed = run("growing_recipes.py", *options)

    rows = [line for line in printed.splitlines() if line.startswith(("| good", "| before"))]
    assert len(rows) == 6 and all(row.count("|") == 12 for row in rows)
    of_seeds, (mean, _) = rows[:2], [row for row in rows if "2 seeds" in row]
    errors = [float(row.split("|")[5]) for row in (*of_seeds, mean)]
    assert errors[2] == pytest.approx((errors[0] + errors[1]) / 2, abs=2e-5)
    # What is known is not trained again.
    assert run("growing_recipes.py", *options) == printed
    first = json.loads(known.read_text().splitlines()[0])
    assert first["picture"] == "lizard" and first["settings"]["optimizer"] == "muon"
