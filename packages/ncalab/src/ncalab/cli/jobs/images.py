"""Files that a command reads images from."""

from collections.abc import Iterable
from pathlib import Path

from ncalab.tasks.images import image_suffixes, list_images
from ncalab.tasks.images.folders import why_no_images

ARRAY_SUFFIX = ".npy"


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Return files, and in place of a folder the images in it, sorted by name.

    Raises:
        ValueError: If a folder holds no image.
    """
    suffixes = image_suffixes() | {ARRAY_SUFFIX}
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = list_images(path, suffixes)
        if not inside:
            raise ValueError(
                f"IMAGES must hold at least one image, got the folder {path}{why_no_images(path)}"
            )
        found += inside
    return found
