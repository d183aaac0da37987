"""Measure the peak memory of training and of validation.

    python benchmarks/memory.py
    python benchmarks/memory.py --device cuda --steps 64 256 1024

Prints two tables in Markdown: the memory of one training step against the number of steps of its
rollout, with all states kept and with checkpointing over steps; and the memory of a validation
against the number of images. Each figure is the peak above what the process held before, in a
process of its own: the resident set on the CPU, what torch allocated on CUDA.
"""

import argparse
import multiprocessing
import resource
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ncalab.core.rollout import Checkpoint
from ncalab.tasks import GrowingNCAModel
from ncalab.train import BasicNCATrainer

SIDE = 64

Task = Callable[[torch.device], None]


def make_model(device: torch.device, steps: int) -> GrowingNCAModel:
    """Return a model of 16 channels."""
    torch.manual_seed(0)
    return GrowingNCAModel(
        device, num_hidden_channels=12, training_timesteps=steps, inference_timesteps=steps
    )


class Images(IterableDataset[tuple[Tensor, Tensor]]):
    """Pairs of a state and an image, made when they are asked for."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(self.count):
            yield torch.rand(16, SIDE, SIDE), torch.rand(4, SIDE, SIDE)


def train(device: torch.device, steps: int, checkpoint: Checkpoint) -> None:
    """Train on one batch of 8."""
    trainer = BasicNCATrainer(
        make_model(device, steps),
        None,
        max_epochs=1,
        batch_repeat=1,
        checkpoint=checkpoint,
        progress=False,
    )
    trainer.train(DataLoader(Images(8), batch_size=8))


def validate(device: torch.device, images: int) -> None:
    """Train on nothing much, and validate on a number of images."""
    trainer = BasicNCATrainer(
        make_model(device, 4), None, max_epochs=1, batch_repeat=1, progress=False
    )
    trainer.train(DataLoader(Images(8), batch_size=8), DataLoader(Images(images), batch_size=8))


def peak_bytes(device: torch.device) -> int:
    """Return the largest memory so far."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(task: Task, name: str, results: "multiprocessing.Queue[float]") -> None:
    """Put the peak of a task above that of a small one into a queue."""
    torch.set_num_threads(1)
    device = torch.device(name)
    train(device, 2, None)  # imports, caches and buffers that any training needs
    before = peak_bytes(device)
    task(device)
    results.put((peak_bytes(device) - before) / 2**20)


def in_a_process(task: Task, device: str) -> float:
    """Return the peak of a task in MiB, measured in a fresh process."""
    processes = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[float] = processes.Queue()
    process = processes.Process(target=measure, args=(task, device, results))
    process.start()
    figure = results.get()
    process.join()
    return figure


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--steps", type=int, nargs="+", default=[16, 64, 256, 1024])
    parser.add_argument("--images", type=int, nargs="+", default=[64, 256, 1024])
    arguments = parser.parse_args()

    print(f"batch 8, 16 channels, {SIDE} x {SIDE} cells, {arguments.device}")
    print('\n| steps | checkpoint=None, MiB | checkpoint="auto", MiB |\n|---|---|---|')
    for steps in arguments.steps:
        figures = [
            in_a_process(partial(train, steps=steps, checkpoint=checkpoint), arguments.device)
            for checkpoint in (None, "auto")
        ]
        print(f"| {steps} | {figures[0]:.0f} | {figures[1]:.0f} |", flush=True)
    print("\n| images validated | MiB |\n|---|---|")
    for images in arguments.images:
        figure = in_a_process(partial(validate, images=images), arguments.device)
        print(f"| {images} | {figure:.0f} |", flush=True)


if __name__ == "__main__":
    main()
