"""Mistakes in commands are found without running them."""

from pathlib import Path

import pytest
from checking import CheckError, check_script, commands

SCRIPT = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=3)
arguments = parser.parse_args()
raise RuntimeError("this must not be reached")
"""
NOXFILE = """
import nox

@nox.session
def grow(session):
    session.run("python", "script.py", *session.posargs)

@nox.session(default=False)
@nox.parametrize("part", ["core"], ids=["core"])
def tests(session, part):
    session.run("pytest", *session.posargs)
"""
PROJECT = """
[project]
name = "part"
optional-dependencies = {extra = []}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    (tmp_path / "script.py").write_text(SCRIPT, encoding="utf-8")
    (tmp_path / "noxfile.py").write_text(NOXFILE, encoding="utf-8")
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    return tmp_path


def test_a_script_is_split_into_commands() -> None:
    code = "A=1 one \\\n  'two words' > log && three # four\n# five\nsix | seven\n"

    assert list(commands(code)) == [["one", "two words"], ["three"], ["six"], ["seven"]]


@pytest.mark.parametrize(
    "code",
    [
        "python script.py --epochs 800",
        "nox -s grow",
        "nox -s grow tests",
        "nox -s 'tests(core)'",
        "nox -s grow -- --epochs 5",
        "pip install -c constraints.txt ./part './part[extra]'",
        "python -m pip install pytest",
        "python -m json.tool",
        "git clone somewhere && cd somewhere",
    ],
)
def test_what_would_run_passes(code: str, clone: Path) -> None:
    check_script(code, clone)


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        ("python missing.py", "missing.py does not exist"),
        ("python script.py --epoch-count 3", "unrecognized arguments: --epoch-count"),
        ("python script.py --epochs many", "invalid int value: 'many'"),
        ("python -m no_such_module", "the module no_such_module does not exist"),
        ("nox -s gorw", "the session gorw does not exist"),
        ("nox -s 'tests(coer)'", r"the session tests\(coer\) does not exist"),
        ("nox -s grow -- --epochs many", "invalid int value: 'many'"),
        ("pip install ./prat", "prat/pyproject.toml does not exist"),
        ("pip install './part[other]'", "has the extras extra, got other"),
        ("pip install -r missing.txt", "missing.txt does not exist"),
        ("pip install no-such-package-here", "must be one of noxfile.PAGE_TOOLS"),
        ("pip install 'pytest<1'", "must fit what the blocks are run with"),
        ("no-such-command --option", "the command no-such-command does not exist"),
        ("if true", "syntax error"),
        ("cat <<END\nx\nEND", "here-document"),
    ],
)
def test_what_would_not_run_is_named(code: str, fault: str, clone: Path) -> None:
    with pytest.raises(CheckError, match=fault):
        check_script(code, clone)
