"""Folders that can be written to, and files that are there as a whole or not at all."""

import os
import tempfile
from itertools import count
from pathlib import Path

PathLike = str | os.PathLike[str]

# Characters; all names of a run's files are shorter.
_NAME_IN_TEMPORARY = 40


def atomic_write(path: PathLike, data: bytes) -> None:
    """Write a file so that it is there as a whole or not at all.

    The bytes go to a temporary file in the same folder, are flushed to disk, and only then take
    the name. Missing folders are created.

    Args:
        path: File to write or replace.
        data: Its content.

    Raises:
        OSError: If it cannot be written; a file that was there before is unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # Cut: where a name is as long as names may be, that of the temporary file has to fit as well.
    prefix = f".{path.name[:_NAME_IN_TEMPORARY]}."
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=prefix, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        # mkstemp makes private files; give this one the mode of any other new file.
        Path(temporary).chmod(_new_file_mode())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _new_file_mode() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def check_writable_folder(path: PathLike, *, name: str = "path", size: int = 0) -> Path:
    """Create the folder if it is missing, and raise unless files can be written into it.

    Args:
        path: Folder.
        name: What to call it in the error.
        size: Number of bytes that there must be room for.

    Returns:
        The folder.

    Raises:
        ValueError: If it cannot be created or written to, is a file, or its disk is full.
    """
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(size))
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ValueError(f"{name} must be a writable folder, got {folder} ({error})") from error
    return folder


def free_folder(path: PathLike) -> Path:
    """Return a name that nothing has yet, so that a new run cannot mix with an older one.

    Args:
        path: Wanted folder. It is not created.

    Returns:
        ``path``, or the first of ``path-2``, ``path-3``... that does not exist.

    >>> free_folder("runs/of/nobody").as_posix()
    'runs/of/nobody'
    """
    wanted = Path(path)
    if not wanted.exists():
        return wanted
    names = (wanted.with_name(f"{wanted.name}-{number}") for number in count(2))
    return next(name for name in names if not name.exists())
