"""Run every code block of the pages of this repository: `python tests-docs [--long] [PAGE ...]`."""

import sys
from pathlib import Path

import pytest
from repository import files

ROOT = Path(__file__).resolve().parent.parent


def pages() -> list[str]:
    """List all pages, except the forms that issues and pull requests start from."""
    listed = files(ROOT, "*.md")
    return [str(ROOT / path) for path in listed if path.parts[0] != ".github"]


arguments = sys.argv[1:]
named = [argument for argument in arguments if Path(argument.partition("::")[0]).exists()]
options = ["-c", str(ROOT / "tests-docs/pytest.ini"), "--rootdir", str(ROOT), "-p", "plugin"]
sys.exit(pytest.main([*options, *arguments, *([] if named else pages())]))
