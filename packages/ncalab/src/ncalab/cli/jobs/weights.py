"""Models from what a user calls their weights."""

from pathlib import Path

from ncalab.cli.jobs.files import GROW_FILE, PRETRAINED
from ncalab.core import AbstractNCAModel, get_compute_device
from ncalab.core.json_file import COUNT, Rule, check_fields, read_json
from ncalab.core.saving import CONFIG_NAME, WEIGHTS_NAME
from ncalab.core.task import all_tasks
from ncalab.train.history import BEST_NAME, LAST_NAME

DEFAULT_GRID = (64, 64)

_GRID = Rule(
    "a pair of whole numbers of at least 1",
    lambda grid: (
        isinstance(grid, list | tuple)
        and len(grid) == 2
        and all(COUNT.holds(side) and side > 0 for side in grid)
    ),
)


def find_weights(path: Path) -> Path:
    """Return what ``from_pretrained`` reads.

    Args:
        path: Weights file, folder of ``save_pretrained``, or of a training run: then its best
            weights, else the last.

    Raises:
        FileNotFoundError: If a folder holds neither.
    """
    if not path.is_dir() or (path / CONFIG_NAME).is_file():
        return path
    for name in (BEST_NAME, LAST_NAME, f"{PRETRAINED}/{WEIGHTS_NAME}"):
        if (path / name).is_file():
            return path / name
    raise FileNotFoundError(
        f"WEIGHTS must be a weights file, or a folder with {CONFIG_NAME}, {BEST_NAME} or "
        f"{LAST_NAME}, got {path}"
    )


def load_model(path: Path, device: str = "cpu") -> AbstractNCAModel:
    """Rebuild a model from its weights; only classes of installed tasks are made.

    Args:
        path: As in :func:`find_weights`.
        device: As in :func:`ncalab.core.get_compute_device`.
    """
    place = get_compute_device(device)
    all_tasks()  # imports the classes that a file can name
    return AbstractNCAModel.from_pretrained(find_weights(path), device=place)


def grid_of(path: Path, size: tuple[int, int] | None) -> tuple[int, int]:
    """Return the grid to grow in: as asked, as it was trained, or 64 by 64.

    Args:
        path: The weights.
        size: What was asked for.
    """
    if size is not None:
        return size
    folder = path if path.is_dir() else path.parent
    for file in (folder / GROW_FILE, folder.parent / GROW_FILE):
        if file.is_file():
            grid = read_json(file).get("grid", DEFAULT_GRID)
            check_fields(file, {"grid": grid}, {"grid": _GRID})
            return int(grid[0]), int(grid[1])
    return DEFAULT_GRID
