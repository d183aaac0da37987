"""The files of a run folder, and whether a training may begin in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ncalab.core.run_record import CHECKPOINT_NAME
from ncalab.core.saving import PathLike, check_writable_folder
from ncalab.train.history import AVERAGE_NAME, BEST_NAME, CSV_NAME, HISTORY_NAME, LAST_NAME

RUN_FILES = (CHECKPOINT_NAME, HISTORY_NAME, CSV_NAME, LAST_NAME, BEST_NAME, AVERAGE_NAME)


def prepare_folder(folder: PathLike, *, resume: bool, overwrite: bool, size: int) -> bool:
    """Make sure that a training may write into a folder.

    Args:
        folder: Run folder, created if it is missing.
        resume: Whether to resume the run in it.
        overwrite: Whether that run may be replaced.
        size: Number of bytes that a save takes at least.

    Returns:
        Whether there is a checkpoint to resume.

    Raises:
        ValueError: If the folder cannot be written to, holds a run that is neither to be resumed
            nor replaced, or one that cannot be resumed.
    """
    folder = Path(folder)
    there = [name for name in RUN_FILES if (folder / name).exists()]
    if there and not resume and not overwrite:
        raise ValueError(
            "model_path must not hold a finished run (pass overwrite=True to replace it, "
            "resume=True to resume it, or choose another folder), "
            f"got {folder} with {', '.join(there)}"
        )
    if resume and there and CHECKPOINT_NAME not in there:
        raise ValueError(
            f"model_path must hold a {CHECKPOINT_NAME} to resume, got {folder} with only "
            f"{', '.join(there)}; choose another folder or pass overwrite=True to replace it"
        )
    check_writable_folder(folder, name="model_path", size=size)
    return resume and CHECKPOINT_NAME in there


@contextmanager
def tidied(folder: PathLike | None) -> Iterator[None]:
    """Leave no folder behind that was created within and in which nothing was put.

    Args:
        folder: Run folder; None for no folder.
    """
    missing = [] if folder is None else _missing(Path(folder).absolute())
    try:
        yield
    finally:
        for each in missing:
            if each.is_dir() and not any(each.iterdir()):
                each.rmdir()


def _missing(folder: Path) -> list[Path]:
    """Return the folders on the way to a folder that do not exist, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def remove_leftovers(folder: PathLike) -> None:
    """Delete the temporary files of saves that were killed."""
    for name in RUN_FILES:
        for leftover in Path(folder).glob(f".{name}.*.tmp"):
            leftover.unlink(missing_ok=True)
