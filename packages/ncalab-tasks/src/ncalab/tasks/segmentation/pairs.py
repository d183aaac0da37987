"""Pairs of image and mask: files of two folders, matched by name."""

from collections.abc import Sequence
from pathlib import Path

from ncalab.tasks.images import FileNames, list_images
from ncalab.tasks.images.folders import last_part, why_missing, why_no_images

_MAX_REPORTED = 10


def find_image(name: str, folder: Path, files: FileNames) -> Path:
    """Return the image of a name with or without suffix.

    Args:
        name: Name of a file or its stem. Of a path, of any system, only the last part counts, so
            that a split fits a data set that has moved.
        folder: Where it must be.
        files: The images of that folder.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If there are several, or it is of a format that is not read.
    """
    exact = folder / last_part(name)
    if not (found := files.find(name)) and exact.is_file():
        # Of a suffix that says nothing: whoever names it means it.
        return exact
    return _only(found, exact)


def _only(files: list[Path], wanted: Path) -> Path:
    """Return the one file that was found."""
    if not files:
        reason = why_missing(wanted.parent, wanted.name)
        raise FileNotFoundError(f"{wanted} is missing (with any suffix of an image){reason}")
    if len(files) > 1:
        raise ValueError(f"{wanted.name} must be one file, got {', '.join(map(str, files))}")
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
        ValueError: If no image is given, or a name stands for several files.
    """
    image_files, mask_files = FileNames(list_images(images)), FileNames(list_images(masks))
    if isinstance(files, str):
        raise TypeError(f"files must be a list of names, got {files!r}")
    wanted = [file.stem for file in image_files.files] if files is None else list(map(str, files))
    if not wanted:
        reason = why_no_images(images) if files is None else ""
        raise ValueError(f"files must name at least one image of {images}, got none{reason}")
    pairs: list[tuple[Path, Path]] = []
    problems: list[Exception] = []
    for name in dict.fromkeys(wanted) if files is None else wanted:
        try:
            if files is None:
                image = _only(image_files.with_stem(name), images / name)
            else:
                image = find_image(name, images, image_files)
            mask = image.stem + mask_suffix
            pairs.append((image, _only(mask_files.with_stem(mask), masks / mask)))
        except (FileNotFoundError, ValueError) as error:
            problems.append(error)
    raise_for_all(problems, images.parent)
    return pairs


def raise_for_all(problems: Sequence[Exception], path: Path) -> None:
    """Raise one error, of the first one's type, that lists all problems, if there are any.

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
