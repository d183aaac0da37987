import json
import subprocess
import sys
from pathlib import Path

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
