"""Measure how long animations take to render, and how much memory that needs.

    python benchmarks/animation.py
    python benchmarks/animation.py --frames 100 400 1600 --json animation.json

Each measurement runs in a process of its own: a rollout of one growing model on 128 x 128 cells,
rendered to a GIF. Prints seconds (rollout and file; by the clock, and of the processors, which a
busy machine does not distort), size of the file, and memory above that of the
imports and the model: the peak that Python allocated (tracemalloc), in a run that is not timed,
because tracing slows it, and the growth of the resident set (RSS).
"""

import argparse
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

import torch

from ncalab.tasks import GrowingNCAModel
from ncalab.viz import Animator

MIB = 2**20


def resident() -> float:
    """Return the largest resident set of this process so far, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts KiB, macOS counts bytes.
    return peak / (MIB if sys.platform == "darwin" else 1024)


def render(
    nca: GrowingNCAModel, side: int, frames: int, path: Path, *, hidden: bool
) -> tuple[float, float]:
    """Render an animation; return the seconds that it took, and those of the processors."""
    start, worked = time.perf_counter(), time.process_time()
    seed = torch.rand(1, nca.num_channels, side, side)
    Animator(nca, seed, frames - 1, hidden=hidden, rollout_seed=0).save(path)
    return time.perf_counter() - start, time.process_time() - worked


def measure(side: int, frames: int, hidden: bool, traced: bool) -> dict[str, float]:
    """Render in this process and return what it took."""
    torch.manual_seed(0)
    nca = GrowingNCAModel(torch.device("cpu"), num_hidden_channels=12)
    # A rule that does something, but little, so that every cell changes at every step.
    torch.nn.init.normal_(nca.rule.get_parameter("network.2.weight"), std=0.01)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.gif"
        # Fonts, colormaps and the engine's caches are not what is measured.
        render(nca, side, 4, path, hidden=hidden)
        before = resident()
        if traced:
            tracemalloc.start()
        seconds, processors = render(nca, side, frames, path, hidden=hidden)
        allocated = tracemalloc.get_traced_memory()[1] / MIB if traced else 0.0
        size = path.stat().st_size / MIB
    return {
        "seconds": seconds,
        "processor_seconds": processors,
        "file_mib": size,
        "rss_mib": resident() - before,
        "traced_mib": allocated,
    }


parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--side", type=int, default=128, help="cells along each side")
parser.add_argument("--frames", type=int, nargs="+", default=[100, 400], help="frames to render")
parser.add_argument("--json", type=Path, help="file to write the measurements to")

if __name__ == "__main__":
    arguments = parser.parse_args()
    print(f"{arguments.side} x {arguments.side} cells, {os.cpu_count()} CPUs")
    print("hidden  frames  seconds  of processors  file MiB  RSS growth MiB  allocated MiB")
    rows = []
    processes = multiprocessing.get_context("spawn")
    for hidden in (False, True):
        for frames in arguments.frames:
            runs = []
            for traced in (False, True):
                with processes.Pool(1) as pool:
                    runs.append(pool.apply(measure, (arguments.side, frames, hidden, traced)))
            row = {**runs[0], "traced_mib": runs[1]["traced_mib"]}
            rows.append({"hidden": hidden, "frames": frames, **row})
            print(
                f"{hidden!s:6}  {frames:6}  {row['seconds']:7.2f}  "
                f"{row['processor_seconds']:13.2f}  {row['file_mib']:8.2f}  "
                f"{row['rss_mib']:14.1f}  {row['traced_mib']:13.1f}"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")
