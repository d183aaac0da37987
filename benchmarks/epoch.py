"""Time whole epochs of classifiers against a plain training loop of eager steps.

    python benchmarks/epoch.py
    python benchmarks/epoch.py --images 1024 --threads 2

The models are classifiers as ClassificationNCAModel makes them by default (learned filters, a fire
rate of 0.8) with 20 hidden channels, on random images of the sizes of CIFAR-10, BloodMNIST and
PathMNIST. "plain" loads batches, runs eager steps (``eager.py``) and takes steps of Adam; "ncalab"
is BasicNCATrainer, which does also what trainings need: it looks for what is not finite, keeps
history and the best weights. Both take turns in one process, and a ratio is the median of those of
neighbouring epochs. Times are those on the processor for one thread, and on the wall for several.
"""

import argparse
import statistics
from collections.abc import Callable

import torch
from eager import eager_rollout
from example_cases import CPU
from machine import describe_machine
from measure import clock_of, seconds
from table import markdown_table
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import pad_input
from ncalab.tasks import ClassificationNCAModel
from ncalab.train import BasicNCATrainer

# Side of the images, and classes.
DATA = {"CIFAR-10": (32, 10), "BloodMNIST": (28, 8), "PathMNIST": (28, 9)}
STEPS = 32
LEARNING_RATE = 1e-4


def plain(nca: ClassificationNCAModel, loader: DataLoader[tuple[torch.Tensor, ...]]) -> None:
    """Train for an epoch as a script of the literature does."""
    optimizer = torch.optim.Adam(nca.parameters(), LEARNING_RATE)
    for images, labels in loader:
        state = eager_rollout(nca, pad_input(images, nca), STEPS)
        optimizer.zero_grad()
        nca.loss(nca.read_out(state, STEPS), labels)["total"].backward()
        optimizer.step()


def contenders(name: str, images: int, batch: int) -> dict[str, Callable[[], object]]:
    """Return an epoch of each."""
    side, classes = DATA[name]
    torch.manual_seed(0)
    data = TensorDataset(torch.rand(images, 3, side, side), torch.randint(0, classes, (images,)))
    loader = DataLoader(data, batch, shuffle=True)
    models = []
    for _ in range(2):
        nca = ClassificationNCAModel(CPU, 3, 20, num_classes=classes, training_timesteps=STEPS)
        torch.nn.init.normal_(nca.rule.get_parameter("network.2.weight"), std=0.01)
        models.append(nca)
    trainer = BasicNCATrainer(
        models[1], None, lr=LEARNING_RATE, batch_repeat=1, max_epochs=1, progress=False
    )
    return {"plain": lambda: plain(models[0], loader), "ncalab": lambda: trainer.train(loader)}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()

    torch.set_num_threads(arguments.threads)
    clock = clock_of(arguments.threads)
    print(", ".join(f"{key} {value}" for key, value in describe_machine().items() if value))
    rows = []
    for name in DATA:
        runs = contenders(name, arguments.images, arguments.batch)
        for run in runs.values():
            run()
        turns = [[seconds(run, clock) for run in runs.values()] for _ in range(arguments.rounds)]
        medians = [statistics.median(times) for times in zip(*turns, strict=True)]
        ratio = statistics.median(slow / fast for slow, fast in turns)
        rows.append([name, *(f"{took:.2f}" for took in medians), f"{ratio:.1f}"])
        print(*rows[-1], flush=True)
    print(markdown_table(["data", "plain, s", "ncalab, s", "plain / ncalab"], rows))


if __name__ == "__main__":
    main()
