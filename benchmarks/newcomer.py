"""Take the newcomer's path: the commands of the README, in a fresh clone, timed.

    python benchmarks/newcomer.py
    python benchmarks/newcomer.py --cold --until "first lizard"

Clones the repository into an empty folder, makes an empty virtual environment, and runs what
stands in the README's blocks that are marked `<!-- newcomer: ... -->`, word for word. Prints the
seconds of each command, the totals against what the README promises, and fails if one takes longer
or if a file that it promises is missing. Needs Python, git and bash.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Seconds that each part of the path may take, and the files that it leaves.
LIMITS = {"first lizard": 60, "own emoji": 600}
PROMISED = {
    "first lizard": ["runs/lizard.html"],
    "own emoji": [
        "runs/cat/cat.gif",
        "runs/cat/cat.html",
        "runs/cat/history.json",
        "runs/cat/last_model.safetensors",
    ],
}
BLOCK = re.compile(
    r"^<!-- newcomer: (?P<part>[\w ]+) -->\n(?:<!-- [^\n]* -->\n)*```bash\n(?P<code>.*?)^```$",
    flags=re.DOTALL | re.MULTILINE,
)


def marked_commands(page: str, part: str) -> Iterator[str]:
    """Yield the command lines of a part, as they stand in the page."""
    for block in BLOCK.finditer(page):
        if block["part"] == part:
            yield from block["code"].replace("\\\n", " ").splitlines()


def newcomers_environment(folder: Path, *, cold: bool) -> dict[str, str]:
    """Make a virtual environment with nothing but pip; return the variables that enter it."""
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    binaries = folder / ("Scripts" if os.name == "nt" else "bin")
    variables = {name: value for name, value in os.environ.items() if not name.startswith("NOX")}
    variables |= {
        "VIRTUAL_ENV": str(folder),
        "PATH": os.pathsep.join([str(binaries), os.environ["PATH"]]),
    }
    if cold:
        for tool in ("PIP", "UV"):
            variables[f"{tool}_CACHE_DIR"] = str(folder / f"{tool.lower()}-cache")
    return variables


def run(command: str, clone: Path, variables: dict[str, str]) -> float:
    """Run one command line in the clone and return its seconds.

    Raises:
        SystemExit: If it fails, with what it printed.
    """
    begin = time.perf_counter()
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=clone,
        env=variables,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - begin
    if done.returncode:
        raise SystemExit(f"{command}: exit code {done.returncode}\n{done.stdout}")
    return seconds


def walk(part: str, clone: Path, variables: dict[str, str]) -> list[str]:
    """Run a part of the path, print its times, and return what the page promised in vain."""
    commands = list(marked_commands((clone / "README.md").read_text(encoding="utf-8"), part))
    if not commands:
        return [f"README.md has no block marked newcomer: {part}"]
    print(part)
    total = 0.0
    for command in commands:
        seconds = run(command, clone, variables)
        print(f"  {seconds:7.1f} s  {command}", flush=True)
        total += seconds
    print(f"  {total:7.1f} s  in all; at most {LIMITS[part]}", flush=True)
    broken = [f"{file} is missing" for file in PROMISED[part] if not (clone / file).exists()]
    if total > LIMITS[part]:
        broken.append(f"{part} must take at most {LIMITS[part]} s, took {total:.0f}")
    return broken


def main() -> None:
    """Clone, make an environment, take the path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repository", default=str(ROOT), help="what is cloned; path or address")
    parser.add_argument("--until", choices=list(LIMITS), help="last part of the path; default: all")
    parser.add_argument("--cold", action="store_true", help="with empty caches of pip and uv")
    parser.add_argument("--keep", type=Path, help="empty folder to work in, and to leave there")
    arguments = parser.parse_args()
    if arguments.keep is not None and arguments.keep.exists() and any(arguments.keep.iterdir()):
        parser.error(f"--keep must be an empty or new folder, got {arguments.keep}")
    folder = arguments.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        clone = folder.resolve() / "ncalab"
        begin = time.perf_counter()
        subprocess.run(["git", "clone", "--quiet", arguments.repository, str(clone)], check=True)
        print(f"  {time.perf_counter() - begin:7.1f} s  git clone")
        variables = newcomers_environment(folder.resolve() / "environment", cold=arguments.cold)
        parts = list(LIMITS)
        if arguments.until:
            parts = parts[: parts.index(arguments.until) + 1]
        broken = [fault for part in parts for fault in walk(part, clone, variables)]
    finally:
        if arguments.keep is None:
            shutil.rmtree(folder, ignore_errors=True)
    for fault in broken:
        print(fault, file=sys.stderr)
    sys.exit(bool(broken))


if __name__ == "__main__":
    main()
