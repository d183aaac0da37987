"""Print which part a tag releases, as `part=NAME`: `release.py ncalab-core-v0.2.0`.

The part must exist, have the tag's version, and a changelog that gives this version a date.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def part_of(tag: str, root: Path = ROOT) -> str:
    """Return the name of the part that a tag releases.

    Raises:
        ValueError: If the tag is not one of a part, or the part is not ready.
    """
    found = re.fullmatch(r"(ncalab(?:-[a-z]+)?)-v(\d+\.\d+\.\d+)", tag)
    if found is None or not (root / "packages" / found[1] / "pyproject.toml").exists():
        raise ValueError(
            f"a tag must be a part's name and version, as ncalab-core-v0.2.0, got {tag}"
        )
    part, version = found.groups()
    folder = root / "packages" / part
    (about,) = folder.glob("src/ncalab/**/__about__.py")
    if f'__version__ = "{version}"' not in about.read_text(encoding="utf-8").splitlines():
        raise ValueError(f"{about.relative_to(root)} must name the tag's version, {version}")
    top = re.search(r"^## .*$", (folder / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    if top is None or not re.fullmatch(rf"## \[{re.escape(version)}\] - [\d-]{{10}}", top[0]):
        raise ValueError(
            f"the changelog of {part} must begin with ## [{version}] - YYYY-MM-DD, "
            f"got {top and top[0]}"
        )
    return part


if __name__ == "__main__":
    try:
        print(f"part={part_of(sys.argv[1])}")
    except ValueError as error:
        sys.exit(str(error))
