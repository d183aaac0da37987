"""Time trainings beside other processes that keep a core busy each, and beside each other.

    python benchmarks/busy.py
    python benchmarks/busy.py --only digits --rounds 3

Each training is that of an example, on random images. It runs in a process of a pool with torch's
own number of threads: alone; while one and two other processes compute; and two at a time, in both
processes of the pool, alone and beside one other. Prints how many times as long as alone it takes:
the median over rounds (for two at a time, of the slower one) over the shortest time alone. For two
cores, a machine that shares them fairly gives a training of two threads 1.5 and 2 times; what it
takes beyond is lost.
"""

import argparse
import contextlib
import multiprocessing
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from example_cases import CPU, LIZARD, digits_cascade
from machine import describe_machine
from table import markdown_table
from torch.utils.data import DataLoader, TensorDataset

from ncalab.tasks import GrowingNCADataset, GrowingNCAModel, SegmentationNCAModel
from ncalab.train import BasicNCATrainer, Pool

# Busy processes, and trainings at the same time.
SITUATIONS = {
    "beside one": (1, 1),
    "beside two": (2, 1),
    "two trainings": (0, 2),
    "two trainings, beside one": (1, 2),
}
KEEP_BUSY = "while True: pass"
SIDE = 40


def growing(samples: int) -> Callable[[], object]:
    """Return the training of ``examples/growing_emoji``, from its pretrained weights."""
    nca = GrowingNCAModel.from_pretrained(LIZARD)
    picture = np.zeros((SIDE, SIDE, 4), np.uint8)
    picture[8:32, 8:32] = 255
    trainer = BasicNCATrainer(
        nca,
        None,
        lr=1e-4,
        batch_repeat=1,
        max_epochs=-(-samples // 4),
        pool=Pool(2),
        gradient_normalization=True,
        progress=False,
    )
    loader = DataLoader(GrowingNCADataset(picture, nca.num_channels, 4), 4)
    return lambda: trainer.train(loader)


def digits(samples: int) -> Callable[[], object]:
    """Return the training of ``examples/selfclass_mnist``."""
    images = torch.rand(samples, 1, 28, 28)
    images[images < 0.8] = 0
    trainer = BasicNCATrainer(
        digits_cascade(),
        None,
        optimizer_method="adamw",
        lr=5e-3,
        batch_repeat=1,
        max_epochs=1,
        gradient_normalization=True,
        ema_decay=0.995,
        progress=False,
    )
    loader = DataLoader(TensorDataset(images, torch.randint(0, 10, (samples,))), 48)
    return lambda: trainer.train(loader)


def nuclei(samples: int) -> Callable[[], object]:
    """Return the training of ``examples/segmentation_nuclei``."""
    nca = SegmentationNCAModel(
        CPU,
        num_image_channels=1,
        num_hidden_channels=12,
        fire_rate=0.5,
        hidden_size=48,
        filter_padding="reflect",
        training_timesteps=(12, 20),
    )
    images, masks = torch.rand(samples, 1, 64, 64), torch.randint(0, 2, (samples, 64, 64))
    trainer = BasicNCATrainer(
        nca,
        None,
        optimizer_method="adamw",
        lr=6e-3,
        batch_repeat=1,
        max_epochs=1,
        gradient_clipping=True,
        progress=False,
    )
    loader = DataLoader(TensorDataset(images, masks), 2, shuffle=True)
    return lambda: trainer.train(loader)


TRAININGS = {"growing": growing, "digits": digits, "nuclei": nuclei}
# A few seconds of each.
SAMPLES = {"growing": 160, "digits": 480, "nuclei": 160}


@lru_cache
def training(name: str, samples: int) -> Callable[[], object]:
    """Return a training of this process, which has been run once."""
    torch.manual_seed(0)
    run = TRAININGS[name](samples)
    run()
    return run


def seconds(name: str, samples: int) -> float:
    """Time a training."""
    run = training(name, samples)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


@contextlib.contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Keep so many cores busy."""
    others = [subprocess.Popen([sys.executable, "-c", KEEP_BUSY]) for _ in range(count)]
    try:
        yield
    finally:
        for process in others:
            process.kill()
            process.wait()


def compare(
    pool: ProcessPoolExecutor, name: str, samples: int, rounds: int
) -> tuple[float, list[float]]:
    """Return the seconds of a training alone, and ratios to it in each situation."""

    def times(at_once: int) -> list[float]:
        futures = [pool.submit(seconds, name, samples) for _ in range(at_once)]
        return [future.result() for future in futures]

    times(2)
    alone: list[float] = []
    found: dict[str, list[float]] = {situation: [] for situation in SITUATIONS}
    for _ in range(rounds):
        alone += times(1)
        for situation, (others, at_once) in SITUATIONS.items():
            with busy_processes(others):
                found[situation].append(max(times(at_once)))
    # What else runs on a machine makes "alone" longer, too, and must not make ratios look better.
    shortest = min(alone)
    return shortest, [statistics.median(each) / shortest for each in found.values()]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="*", default=list(TRAININGS), choices=list(TRAININGS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, help="of every training, in place of their own")
    arguments = parser.parse_args()

    print(", ".join(f"{key} {value}" for key, value in describe_machine().items() if value))
    rows = []
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for name in arguments.only:
            samples = arguments.samples or SAMPLES[name]
            alone, ratios = compare(pool, name, samples, arguments.rounds)
            rows.append([name, f"{alone:.1f}", *(f"{ratio:.1f}" for ratio in ratios)])
            print(*rows[-1], flush=True)
    print(markdown_table(["training", "alone, s", *SITUATIONS], rows))


if __name__ == "__main__":
    main()
