"""Measure contenders in a process of their own: times in alternation, or the memory of one.

A fresh process for each case gives every contender the memory allocator as a program finds it.
glibc gives the largest blocks of a program back at once, so that plain steps fault them in anew,
page by page; once a still larger block has been freed, it keeps them. Cases that say so tell it to
keep all from the start.
"""

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable

import cases
import cax_case
import torch

Figures = dict[str, list[float]]
MIB = 2**20
# Seconds.
SLOW = 15
# What makes glibc keep freed memory; other allocators do not know these settings.
KEEPING = {"MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**34)}


def seconds(run: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> float:
    """Time one call."""
    start = clock()
    run()
    return clock() - start


def clock_of(threads: int) -> Callable[[], float]:
    """Return the clock that other programs disturb least.

    One thread's time on the processor is what it takes alone on a machine. Of several threads,
    which wait for each other, only the time on the wall says how long they take.
    """
    return time.process_time if threads == 1 else time.perf_counter


def times(
    case: cases.Case, kind: str, rounds: int, *, cax: bool = False, only: str | None = None
) -> Figures:
    """Return milliseconds per step of each contender, round by round."""
    runs = cases.runs_of(case, kind)
    if only is not None:
        runs = {only: runs[only]}
    if cax:
        # Without the plain steps, which would profit from the blocks that JAX has freed.
        own = cax_case.CaxCase(case.batch, (case.width, case.height), case.steps, case.alive_mask)
        runs = {"fused": runs["fused"], **cax_case.runs_of(own, kind)}
    for run in runs.values():
        run()
    measured: Figures = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            # What takes minutes is measured once: its ratio needs no second digit.
            if number == 0 or measured[name][0] * case.steps < SLOW * 1e3:
                measured[name].append(seconds(run) * 1e3 / case.steps)
    return measured


def memory(case: cases.Case, contender: str) -> Figures:
    """Return by how many MiB training with one contender raises the peak of resident memory."""
    few = cases.Case(**{**vars(case), "batch": 1, "steps": 2})
    cases.runs_of(few, "training")[contender]()
    run = cases.runs_of(case, "training")[contender]
    before = peak_mib()
    run()
    return {contender: [peak_mib() - before]}


def peak_mib() -> float:
    """Return the most resident memory that this process has had."""
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used / MIB if sys.platform == "darwin" else used / 1024


def in_own_process(**task: object) -> Figures:
    """Run this file on a task in a new process."""
    command = [sys.executable, __file__, json.dumps(task)]
    keeps_memory = isinstance(task["case"], dict) and task["case"]["keeps_memory"]
    environment = os.environ | (KEEPING if keeps_memory else {})
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise RuntimeError(f"{task} failed:\n{done.stderr}")
    figures: Figures = json.loads(done.stdout.splitlines()[-1])
    return figures


if __name__ == "__main__":
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task.pop("threads"))
    case = cases.Case(**task.pop("case"))
    spec = memory if "contender" in task else times
    sys.stdout.write("\n" + json.dumps(spec(case, **task)) + "\n")
    sys.stdout.flush()
