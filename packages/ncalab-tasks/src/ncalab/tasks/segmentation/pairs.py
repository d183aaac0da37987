"""Which mask belongs to which image: files of two folders, matched by name."""

from collections.abc import Sequence
from pathlib import Path

from ncalab.tasks.images import image_suffixes

_MAX_REPORTED = 10


def index_by_stem(folder: Path) -> dict[str, list[Path]]:
    """Return the image files of a folder by their names without suffix.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"path must hold the folder {folder.name}, got {folder.parent}")
    suffixes = image_suffixes()
    found: dict[str, list[Path]] = {}
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in suffixes and not file.name.startswith("."):
            found.setdefault(file.stem, []).append(file)
    return found


def find_image(name: str, folder: Path, index: dict[str, list[Path]]) -> Path:
    """Return the image of a name with or without suffix.

    Args:
        name: Name of a file or its stem. Of a path, only the last part counts, so that a split
            fits a data set that has moved.
        folder: Where it must be.
        index: Files of that folder (see :func:`index_by_stem`).

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If there are several.
    """
    name = Path(name).name
    exact = folder / name
    return exact if exact.is_file() else find_by_stem(name, folder, index)


def find_by_stem(stem: str, folder: Path, index: dict[str, list[Path]]) -> Path:
    """Return the one file with that name before its suffix; arguments as in :func:`find_image`."""
    files = index.get(stem, [])
    if not files:
        raise FileNotFoundError(f"{folder / stem} is missing (with any suffix of an image)")
    if len(files) > 1:
        raise ValueError(f"{stem} must be one file, got {', '.join(map(str, files))}")
    return files[0]


def find_pairs(
    images: Path, masks: Path, *, files: Sequence[str] | None = None, mask_suffix: str = ""
) -> list[tuple[Path, Path]]:
    """Match images and masks by name.

    Args:
        images: Folder of images.
        masks: Folder of masks.
        files: Names of images, None for all.
        mask_suffix: What the name of a mask has after that of its image.

    Returns:
        Files (image, mask): in the order of ``files``, or sorted by name.

    Raises:
        FileNotFoundError: If a folder or file is missing; all missing files are named.
        ValueError: If there is no image, or a name stands for several files.
    """
    image_index, mask_index = index_by_stem(images), index_by_stem(masks)
    if isinstance(files, str):
        raise TypeError(f"files must be a list of names, got {files!r}")
    names = list(image_index) if files is None else [str(name) for name in files]
    if not names:
        raise ValueError(f"files must name at least one image of {images}, got none")
    pairs: list[tuple[Path, Path]] = []
    problems: list[Exception] = []
    for name in names:
        try:
            image = find_image(name, images, image_index)
            pairs.append((image, find_by_stem(image.stem + mask_suffix, masks, mask_index)))
        except (FileNotFoundError, ValueError) as error:
            problems.append(error)
    raise_for_all(problems, images.parent)
    return pairs


def raise_for_all(problems: Sequence[Exception], path: Path) -> None:
    """Raise one error, of the first one's type, that tells of all problems, if there are any.

    Args:
        problems: What is wrong.
        path: Folder of the data set.
    """
    if not problems:
        return
    shown = [str(problem) for problem in problems[:_MAX_REPORTED]]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    text = "\n".join([f"path must hold images and masks that fit, got {path}:", *shown])
    raise type(problems[0])(text)
