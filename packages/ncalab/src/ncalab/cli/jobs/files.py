"""Paths of results, and checks that nothing is overwritten by mistake."""

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from ncalab.core.saving import check_writable_folder
from ncalab.train.run_folder import RUN_FILES

GROW_FILE = "grow.json"
"""Name of the file with the settings of a run of ``ncalab grow``."""

TRAIN_FILE = "train.json"
"""The settings of a run of ``ncalab train``, as they were used."""

PRETRAINED = "pretrained"
"""Folder within a run's, for the weights to keep."""


# Of most file systems, in bytes.
_LONGEST_NAME = 255


def short_name(stem: str, ending: int) -> str:
    """Return the beginning of a file's name, cut if it is too long with an ending.

    Args:
        stem: The name as it would be.
        ending: Number of ASCII characters of the longest ending.

    Returns:
        The name; a cut one ends in a hash of the whole, so that no two become one.

    >>> short_name("cells", 9)
    'cells'
    >>> short_name("é" * 130, 9)[-12:], len(short_name("é" * 130, 9).encode())
    ('ééé-f0b59ab2', 245)
    """
    room = _LONGEST_NAME - ending
    encoded = stem.encode("utf-8", "surrogateescape")
    if len(encoded) <= room:
        return stem
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    return f"{encoded[: room - 9].decode('utf-8', 'ignore')}-{digest}"


def check_new(paths: Iterable[Path], *, force: bool) -> None:
    """Raise a ValueError if a file is there that must not be replaced."""
    there = [path for path in paths if path.exists()]
    if there and not force:
        others = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise ValueError(
            f"--output must not hold results yet, got {there[0]}{others}; "
            "choose another place, or replace them with --force"
        )


def check_suffix(path: Path, suffixes: Sequence[str]) -> None:
    """Raise a ValueError unless a file name ends in one of the suffixes."""
    if path.suffix.lower() not in suffixes:
        raise ValueError(f"--output must end in {' or '.join(suffixes)}, got {path}")


def check_output_file(path: Path, suffixes: Sequence[str], *, force: bool) -> None:
    """Raise a ValueError unless a file may be written, before any work is done."""
    check_suffix(path, suffixes)
    check_new([path], force=force)
    check_writable_folder(path.parent, name="--output")


def check_run_folder(
    folder: Path,
    *,
    resume: bool,
    force: bool,
    writes: Iterable[str] = (),
    source: Path | None = None,
) -> None:
    """Raise a ValueError unless a training may begin, or be resumed, in a folder.

    Args:
        folder: Run folder.
        resume: Whether ``--resume`` was given.
        force: Whether ``--force`` was given.
        writes: Names of what is written there beside the files of every training.
        source: File that the training is made from, which must not be replaced by them.
    """
    writes = list(writes)
    there = [name for name in RUN_FILES if (folder / name).exists()]
    # The settings of a run may be read to repeat it.
    own = (GROW_FILE, TRAIN_FILE) if there else ()
    taken = [n for n in (*RUN_FILES, *writes) if n not in own and _same(folder / n, source)]
    if taken:
        raise ValueError(
            f"--output must be a folder where nothing that is read would be replaced, got {folder} "
            f"with {taken[0]}"
        )
    if resume and force:
        raise ValueError("--resume and --force exclude each other: resume the run, or replace it")
    if resume and not there:
        raise ValueError(f"--resume needs a run to continue, and there is none in {folder}")
    if there and not (resume or force):
        raise ValueError(
            f"--output must not hold a run yet, got {folder}; choose another folder, resume "
            "it with --resume, or replace it with --force"
        )
    # What a run that was broken off has left is its own.
    begun = there or any((folder / name).exists() for name in (GROW_FILE, TRAIN_FILE))
    if not begun:
        check_new([folder / name for name in writes], force=force)
    check_writable_folder(folder, name="--output")


def _same(path: Path, other: Path | None) -> bool:
    return other is not None and path.exists() and path.samefile(other)
