"""Rules of the whole repository: changelogs, versions of tools, the list of sessions."""

import json
import re
import runpy
import shutil
from datetime import date
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))
# Of Keep a Changelog, in its order.
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
packages = pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.name))


def read(path: str | Path) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def version(package: Path) -> str:
    (about,) = package.glob("src/ncalab/**/__about__.py")
    found = re.search(r'^__version__ = "(.+)"$', read(about), re.M)
    assert found is not None
    return found[1]


def releases(package: Path) -> list[tuple[str, str, list[str]]]:
    """Split a changelog into versions, their dates, and their headings."""
    head, *entries = re.split(r"^## ", read(package / "CHANGELOG.md"), flags=re.M)
    assert head.startswith(f"# Changelog of {package.name}\n")
    assert "https://keepachangelog.com/" in head
    found = []
    for entry in entries:
        heading = re.match(r"\[(\d+\.\d+\.\d+)\] - (unreleased|\d{4}-\d\d-\d\d)\n", entry)
        assert heading, f"## {entry.splitlines()[0]} must be ## [X.Y.Z] - YYYY-MM-DD or unreleased"
        found.append((heading[1], heading[2], re.findall(r"^### (.+)$", entry, re.M)))
    return found


@packages
def test_the_top_entry_of_a_changelog_is_that_of_the_version(package: Path) -> None:
    assert releases(package)[0][0] == version(package)


@packages
def test_changelogs_have_one_form(package: Path) -> None:
    entries = releases(package)

    numbers = [tuple(map(int, number.split("."))) for number, _, _ in entries]
    assert numbers == sorted(set(numbers), reverse=True)
    dates = [date.fromisoformat(day) for _, day, _ in entries if day != "unreleased"]
    assert dates == sorted(dates, reverse=True)
    assert all(day != "unreleased" for _, day, _ in entries[1:])
    for _, _, kinds in entries:
        assert kinds and kinds == sorted(set(kinds), key=KINDS.index)


def test_the_hooks_and_the_sessions_use_one_ruff() -> None:
    pinned = re.findall(r"ruff==[\d.]+", read("noxfile.py"))
    hooks = re.findall(r"ruff==[\d.]+", read(".pre-commit-config.yaml"))

    assert len(pinned) == 1 and len(hooks) == 2
    assert set(hooks) == set(pinned)


def test_the_guide_lists_every_session() -> None:
    sessions = re.findall(r"^@nox\.session.*\n(?:@.*\n)*def (\w+)", read("noxfile.py"), re.M)
    listed = re.findall(r'^\| `nox -s "?(\w+)', read("CONTRIBUTING.md"), re.M)

    assert set(sessions) == set(listed)


def test_the_sessions_know_every_package() -> None:
    found = re.search(r"^PARTS = \[(.*)\]$", read("noxfile.py"), re.M)

    assert found is not None
    parts = re.findall(r'"(\w+)"', found[1])
    assert {package.name for package in PACKAGES} == {
        *(f"ncalab-{part}" for part in parts),
        "ncalab",
    }


@pytest.fixture
def part_of() -> Any:
    return runpy.run_path(str(ROOT / "packaging-checks/release.py"))["part_of"]


@packages
def test_a_tag_releases_the_part_that_it_names(package: Path, part_of: Any, tmp_path: Path) -> None:
    copy = shutil.copytree(package, tmp_path / "packages" / package.name)
    tag = f"{package.name}-v{version(package)}"
    changelog = copy / "CHANGELOG.md"
    undated = re.sub(r"\d{4}-\d\d-\d\d", "unreleased", read(changelog), count=1)
    changelog.write_text(undated, encoding="utf-8")
    with pytest.raises(ValueError, match=r"must begin with ## .* - YYYY-MM-DD, got .*unreleased"):
        part_of(tag, tmp_path)

    dated = undated.replace("- unreleased", "- 2027-01-31", 1)
    changelog.write_text(dated, encoding="utf-8")

    assert part_of(tag, tmp_path) == package.name


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("ncalab-core-v99.0.0", "__about__.py must name the tag's version, 99.0.0"),
        (
            "ncalab-moon-v0.1.0",
            "a tag must be a part's name and version, .* got ncalab-moon-v0.1.0",
        ),
        ("v0.1.0", "a tag must be"),
        ("ncalab-core-v0.1", "a tag must be"),
        ("ncalab-../core-v0.1.0", "a tag must be"),
    ],
)
def test_other_tags_release_nothing(tag: str, message: str, part_of: Any) -> None:
    with pytest.raises(ValueError, match=message):
        part_of(tag)


def test_notebooks_have_no_outputs_in_git() -> None:
    notebooks = sorted(ROOT.glob("docs/notebooks/*.ipynb"))

    assert len(notebooks) == 6
    for path in notebooks:
        cells = json.loads(read(path))["cells"]
        code = [cell for cell in cells if cell["cell_type"] == "code"]
        assert all(not cell["outputs"] and cell["execution_count"] is None for cell in code), path
