"""Images of a folder, and files by their names, whatever system wrote folder and names."""

import glob
import logging
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from ncalab.tasks.images.formats import foreign_format, how_to_convert, image_suffixes, is_hidden

logger = logging.getLogger(__name__)


def list_images(folder: Path, suffixes: Iterable[str] | None = None) -> list[Path]:
    """Return the images of a folder, sorted by name, without what systems hide in it.

    Files of a known format that is not read, such as DICOM, are named in the log.

    Args:
        folder: The folder.
        suffixes: Suffixes of what counts, lower case; those that Pillow reads if None.

    Raises:
        FileNotFoundError: If the folder does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"path must hold the folder {folder.name}, got {folder.parent}")
    wanted = image_suffixes() if suffixes is None else frozenset(suffixes)
    files = sorted(file for file in folder.iterdir() if file.is_file() and not is_hidden(file))
    images = [file for file in files if file.suffix.lower() in wanted]
    foreign = [file for file in files if file.suffix.lower() not in wanted and foreign_format(file)]
    if foreign:
        logger.warning(
            "%s: %d files are left out, such as %s: %s",
            folder,
            len(foreign),
            foreign[0].name,
            how_to_convert(foreign[0]),
        )
    return images


def why_no_images(folder: Path) -> str:
    """Return "; " and what a folder holds in place of images, if that is known; "" otherwise."""
    return _reason(folder.iterdir()) if folder.is_dir() else ""


def why_missing(folder: Path, name: str) -> str:
    """Return "; " and what there is of that name, if it is of a format that is not read, or ""."""
    return _reason([folder / name, *folder.glob(f"{glob.escape(name)}.*")])


def _reason(files: Iterable[Path]) -> str:
    for file in sorted(files):
        if file.is_file() and not is_hidden(file) and (reason := how_to_convert(file)):
            return f"; of {file.name}: {reason}"
    return ""


def last_part(name: str | Path) -> str:
    r"""Return the last part of a path of any system.

    >>> last_part("images/a.png"), last_part("C:\\data\\a.png")
    ('a.png', 'a.png')
    """
    return re.split(r"[\\/]", str(name).rstrip("\\/"))[-1]


def _key(name: str) -> str:
    """Return a name as it is compared: macOS writes accents in two characters, others in one."""
    return unicodedata.normalize("NFC", name)


class FileNames:
    r"""Files of one folder, to be found by their names, with or without suffix.

    Args:
        files: The files.

    >>> names = FileNames([Path("images/a.png"), Path("images/b.png")])
    >>> names.find("C:\\data\\b.png") == names.find("b") == [Path("images/b.png")]
    True
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.files = list(files)
        self._by_name: dict[str, list[Path]] = {}
        self._by_stem: dict[str, list[Path]] = {}
        for file in self.files:
            self._by_name.setdefault(_key(file.name), []).append(file)
            self._by_stem.setdefault(_key(file.stem), []).append(file)

    def find(self, name: str | Path) -> list[Path]:
        """Return the files of a name with suffix, else without; of a path, the last part counts."""
        for each in (Path(name).name, last_part(name)):
            if found := self._by_name.get(_key(each)) or self.with_stem(each):
                return found
        return []

    def with_stem(self, stem: str) -> list[Path]:
        """Return the files with that name before their suffix."""
        return self._by_stem.get(_key(stem), [])
