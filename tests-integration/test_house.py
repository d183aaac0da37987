"""What the files around the code say of each other."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PARTS = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))


def test_all_parts_are_found() -> None:
    assert len(PARTS) == 6


@pytest.mark.parametrize("part", PARTS, ids=[part.name for part in PARTS])
def test_the_changelog_begins_with_the_version_of_the_part(part: Path) -> None:
    (about,) = part.glob("src/ncalab/**/__about__.py")
    version = re.search(r'^__version__ = "(.+)"$', about.read_text("utf-8"), re.MULTILINE)
    entries = re.findall(
        r"^## (\S+) \(.+\)$", (part / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE
    )

    assert version is not None
    assert entries[0] == version[1]


def test_the_hooks_before_a_commit_use_the_formatter_of_the_sessions() -> None:
    session = re.search(r'^RUFF = "(.+)"$', (ROOT / "noxfile.py").read_text("utf-8"), re.MULTILINE)
    hooks = (ROOT / ".pre-commit-config.yaml").read_text("utf-8")

    assert session is not None
    assert set(re.findall(r"ruff==[\d.]+", hooks)) == {session[1]}
