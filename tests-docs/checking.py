"""Checks of a shell block without running it.

Each nox session that it names exists, each script exists and takes the arguments that it is called
with, each package path, file and extra is there, each command is installed.
"""

import argparse
import contextlib
import functools
import importlib.metadata
import importlib.util
import io
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from packaging.requirements import InvalidRequirement, Requirement

SEPARATORS = {"&&", "||", ";", "|", "&"}
# They act on what earlier commands leave behind; there is nothing to look at beforehand.
UNCHECKED = {"cd", "source", ".", "export", "echo", "git"}
PIP_FILES = {"-r", "--requirement", "-c", "--constraint"}
PIP_VALUES = {"-f", "--find-links", "-i", "--index-url", "--extra-index-url"}


class CheckError(ValueError):
    """A command would not run as written."""


def check_script(code: str, root: Path) -> None:
    """Check every command of a shell script against a clone of the repository.

    Raises:
        CheckError: Naming the command and what is wrong with it.
    """
    syntax = subprocess.run(["bash", "-n"], input=code, capture_output=True, text=True, check=False)
    if syntax.returncode:
        raise CheckError(syntax.stderr)
    for words in commands(code):
        try:
            check_command(words, root)
        except CheckError as error:
            raise CheckError(f"{shlex.join(words)}: {error}") from None


def commands(code: str) -> Iterator[list[str]]:
    """Split a script into simple commands, without assignments and redirections."""
    if "<<" in code:
        raise CheckError("a here-document cannot be checked; save it by a block with a file mark")
    for line in code.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        for word in [*lexer, ";"]:
            if word not in SEPARATORS:
                words.append(word)
                continue
            while words and re.match(r"\w+=", words[0]):
                words.pop(0)
            if ">" in words:
                del words[words.index(">") : words.index(">") + 2]
            if words:
                yield words
            words = []


def check_command(words: list[str], root: Path) -> None:
    """Check one command."""
    name, *arguments = words
    if name == "nox":
        check_nox(arguments, root)
    elif name in ("python", "python3"):
        check_python(arguments, root)
    elif name == "pip":
        check_pip(arguments, root)
    elif name == "bash":
        must_exist(arguments[0], root)
    elif name not in UNCHECKED:
        if shutil.which(name) is None:
            raise CheckError(f"the command {name} does not exist")
        for argument in arguments:
            if argument.startswith(("packages/", "tests-integration/", "examples/", "docs/")):
                must_exist(argument, root)


def must_exist(path: str, root: Path) -> None:
    """Insist that a path is in the clone."""
    if not (root / path).exists():
        raise CheckError(f"{path} does not exist")


def check_python(arguments: list[str], root: Path) -> None:
    """Check a call of Python: a module, or a script with its arguments."""
    if arguments[:2] == ["-m", "pip"]:
        check_pip(arguments[2:], root)
    elif arguments[:1] == ["-m"]:
        if importlib.util.find_spec(arguments[1]) is None:
            raise CheckError(f"the module {arguments[1]} does not exist")
    else:
        must_exist(arguments[0], root)
        parse_arguments(root / arguments[0], arguments[1:])


class Parsed(BaseException):
    """The script's arguments have been read, and are right."""


def parse_arguments(script: Path, arguments: list[str]) -> None:
    """Run a script as far as it has parsed its arguments.

    Raises:
        CheckError: With what the script says about its arguments.
    """
    if "parse_args(" not in script.read_text(encoding="utf-8"):
        raise CheckError(f"{script.name} takes no arguments by argparse, so they cannot be checked")
    parse = argparse.ArgumentParser.parse_args

    def stop_after_parsing(self: argparse.ArgumentParser, *given: Any, **options: Any) -> Any:
        parse(self, *given, **options)
        raise Parsed

    said = io.StringIO()
    with (
        modules_of_its_own(script.parent),
        mock.patch.object(argparse.ArgumentParser, "parse_args", stop_after_parsing),
        mock.patch.object(sys, "argv", [str(script), *arguments]),
        contextlib.redirect_stderr(said),
    ):
        try:
            runpy.run_path(str(script), run_name="__main__")
        except Parsed:
            return
        except SystemExit as error:
            raise CheckError(said.getvalue() or str(error)) from None
    raise CheckError(f"{script.name} has run without parsing its arguments")


@contextlib.contextmanager
def modules_of_its_own(folder: Path) -> Iterator[None]:
    """Let modules be imported from a folder, and forget them again."""
    before = set(sys.modules)
    with mock.patch.object(sys, "path", [str(folder), *sys.path]):
        yield
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


def check_pip(arguments: list[str], root: Path) -> None:
    """Check what `pip install` is asked for."""
    if arguments[:1] != ["install"]:
        raise CheckError("of pip, only install can be checked")
    rest = iter(arguments[1:])
    for argument in rest:
        if argument in PIP_FILES:
            must_exist(next(rest), root)
        elif argument in PIP_VALUES:
            next(rest)
        elif argument.startswith((".", "/")):
            check_package_path(argument, root)
        elif not argument.startswith("-"):
            check_installed(argument)


def check_package_path(argument: str, root: Path) -> None:
    """Check that a path holds a package, with the extras that are asked for."""
    path, _, extras = argument.rstrip("]").partition("[")
    must_exist(f"{path}/pyproject.toml", root)
    project = tomllib.loads((root / path / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    known = project.get("optional-dependencies", {})
    for extra in filter(None, extras.split(",")):
        if extra not in known:
            raise CheckError(f"{path} has the extras {', '.join(known)}, got {extra}")


def check_installed(argument: str) -> None:
    """Check that a page asks for a package that its blocks are run with."""
    try:
        requirement = Requirement(argument)
    except InvalidRequirement as error:
        raise CheckError(str(error)) from None
    try:
        version = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        raise CheckError(f"{requirement.name} must be one of noxfile.PAGE_TOOLS") from None
    if version not in requirement.specifier:
        raise CheckError(f"{argument} must fit what the blocks are run with, {version}")


def check_nox(arguments: list[str], root: Path) -> None:
    """Check that sessions exist, and take the arguments after `--`."""
    chosen, _, given = " ".join(map(shlex.quote, arguments)).partition(" -- ")
    names = [name for name in shlex.split(chosen) if name not in ("-s", "--session", "-l")]
    known = sessions(root)
    for name in names:
        if name not in known:
            raise CheckError(f"the session {name} does not exist")
    if given:
        for name in names:
            for command in commands_of_session(name, shlex.split(given), root):
                if command[0] == "python" and not command[1].startswith("-"):
                    check_python(command[1:], root)


@functools.cache
def sessions(root: Path) -> frozenset[str]:
    """Return the names of all sessions, and of all their variants."""
    # Its JSON holds the default sessions only.
    command = [sys.executable, "-m", "nox", "--list"]
    listed = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode:
        raise CheckError(listed.stderr)
    variants = re.findall(r"^[*-] (\S+)", listed.stdout, flags=re.MULTILINE)
    return frozenset(variants) | {variant.partition("(")[0] for variant in variants}


class _Recorder:
    """Takes the place of a nox session, runs nothing, and keeps what it was asked to run."""

    def __init__(self, posargs: list[str], folder: str) -> None:
        self.posargs = posargs
        self.env: dict[str, str] = {}
        self.ran: list[list[str]] = []
        self._folder = folder

    def run(self, *command: Any, **_: Any) -> None:
        self.ran.append([str(word) for word in command])

    def create_tmp(self) -> str:
        return self._folder

    def error(self, message: str = "") -> None:
        raise CheckError(message)

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def commands_of_session(name: str, posargs: list[str], root: Path) -> list[list[str]]:
    """Return the commands that a nox session would run with these arguments."""
    with (
        mock.patch.dict("nox.registry._REGISTRY", clear=True),
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(root),
    ):
        noxfile = runpy.run_path(str(root / "noxfile.py"))
        recorder = _Recorder(posargs, folder)
        if name in noxfile:  # a variant, such as tests(core), hands all arguments to pytest
            noxfile[name](recorder)
    return [
        [str(Path(word).relative_to(root)) if word.startswith(f"{root}/") else word for word in ran]
        for ran in recorder.ran
    ]
