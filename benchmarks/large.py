"""Run grids that hardly fit into memory, and watch how much of it they take.

    python benchmarks/large.py --side 8192 --steps 4
    python benchmarks/large.py --side 8192 --steps 4 --file state.npy

Prints the size of the state and the peak of the process's resident memory; with --file, the state
stands in that file (created, of that size) and only bands of it are in memory.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from ncalab.core.rollout import tiled_rollout
from ncalab.tasks import GrowingNCAModel

GIB = 2**30


def peak() -> float:
    """Return the largest resident memory of this process so far, in GiB."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / GIB if sys.platform == "darwin" else used * 1024 / GIB


def state_in_file(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """Create a file of random states, written column by column."""
    state = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    del state
    generator = np.random.default_rng(0)
    for first in range(0, shape[2], 256):
        part = np.load(path, mmap_mode="r+")
        columns = part[:, :, first : first + 256]
        columns[:] = generator.random(columns.shape, np.float32)
        part.flush()
        del part, columns
    loaded: np.memmap = np.load(path, mmap_mode="r+")
    return loaded


def main() -> None:
    """Run one rollout in place and print what it took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=8192, help="width and height of the grid")
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--file", type=Path, help="keep the state in this file")
    arguments = parser.parse_args()

    nca = GrowingNCAModel(torch.device("cpu"), num_hidden_channels=12)
    torch.nn.init.normal_(nca.rule.get_parameter("network.2.weight"), std=0.01)
    shape = (1, nca.num_channels, arguments.side, arguments.side)
    before = peak()
    size = 4 * nca.num_channels * arguments.side**2 / GIB
    start = time.perf_counter()
    if arguments.file is None:
        state = torch.rand(shape)
        tiled_rollout(nca, state, arguments.steps, seed=0, out=state)
    else:
        file = state_in_file(arguments.file, shape)
        tiled_rollout(nca, file, arguments.steps, seed=0, out=file)
    seconds = time.perf_counter() - start
    print(f"state {size:.2f} GiB, before it {before:.2f} GiB resident, peak {peak():.2f} GiB")
    print(f"{seconds / arguments.steps:.1f} s per step, {arguments.steps} steps")


if __name__ == "__main__":
    main()
