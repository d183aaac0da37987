"""Collects the code blocks of pages as tests: `python tests-docs` runs them."""

import contextlib
import json
import os
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from doctest import ELLIPSIS, NORMALIZE_WHITESPACE
from pathlib import Path
from typing import Any

import pytest
from checking import CheckError, check_script
from reading import Block, blocks
from repository import Workplace, snapshot
from sybil import Document, Example, Region, Sybil
from sybil.evaluators.doctest import DocTestEvaluator
from sybil.parsers.abstract.doctest import DocTestStringParser

# Without a mark, a block may change its clone, but not the environment that all pages share.
CHANGES_ENVIRONMENT = re.compile(r"\b(pip|nox|venv)\b")


class Runner:
    """Runs the blocks of one page after the other, each page in a fresh clone."""

    def __init__(self, root: Path, *, long: bool) -> None:
        self.root = root
        self.long = long
        self.remarks: list[str] = []
        self._doctest = DocTestEvaluator(ELLIPSIS | NORMALIZE_WHITESPACE)
        self._stack = contextlib.ExitStack()
        self._page = contextlib.ExitStack()
        self._template: Path | None = None
        self._place: Workplace | None = None

    def parse(self, document: Document) -> Iterator[Region]:
        """Hand the blocks of a page to Sybil."""
        starts = [0]
        for line in document.text.splitlines(keepends=True):
            starts.append(starts[-1] + len(line))
        for block in blocks(document.text):
            yield Region(starts[block.first], starts[block.last], block, self.evaluate)

    def begin_page(self, namespace: dict[str, Any]) -> None:
        """Enter a fresh clone, in which Python finds what a page saves there."""
        if self._template is None:
            self._template = Path(self._stack.enter_context(tempfile.TemporaryDirectory())) / "tree"
            self._template.mkdir()
            snapshot(self.root, self._template)
        # Processes that a page has started may still be writing.
        folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._place = Workplace(self._template, Path(self._page.enter_context(folder)))
        self._page.enter_context(contextlib.chdir(self._place.clone))
        self._page.enter_context(importable(self._place.clone))
        namespace["__name__"] = "__main__"

    def end_page(self, namespace: dict[str, Any]) -> None:
        """Leave the clone and remove it."""
        namespace.clear()
        self._page.close()

    def close(self) -> None:
        """Remove what all pages share."""
        self._stack.close()

    def evaluate(self, example: Example) -> str | None:
        """Run a block, or check it; return what is wrong, if anything is."""
        assert self._place is not None
        block: Block = example.parsed
        where = f"{Path(example.path).relative_to(self.root).as_posix()}:{block.line - 1}"
        code = block.code if self.long else block.shortened()
        if code != block.code:
            changes = "; ".join(f"{old} -> {new}" for old, new in block.shorten)
            self.remarks.append(f"{where}: shortened: {changes}")
        if block.file is not None:
            path = self._place.clone / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(code, encoding="utf-8")
        if block.language == "bash":
            return self._shell(block, code, where)
        if block.language in ("python", "pycon"):
            return self._python(block, code, where, example)
        return invalid(block.language, code)

    def _shell(self, block: Block, code: str, where: str) -> str | None:
        assert self._place is not None
        if block.file is not None:
            return None
        lacking = block.needs == "cuda" and not has_cuda()
        if lacking or (block.long and not self.long):
            self.remarks.append(f"{where}: checked, not run{': needs cuda' if lacking else ''}")
            try:
                check_script(code, self._place.clone)
            except CheckError as error:
                return str(error)
            return None
        if not block.long and CHANGES_ENVIRONMENT.search(code):
            return f"a block with pip or nox must be marked long, got {code!r}"
        if block.empty_environment and self.long:
            self._place.use_an_empty_environment()
        done = self._place.shell(code)
        if self.long:
            sys.stdout.write(done.stdout)
        if done.returncode == 0:
            return None
        return f"{code}\nended with exit code {done.returncode}:\n{done.stdout}"

    def _python(self, block: Block, code: str, where: str, example: Example) -> str | None:
        if block.language == "pycon":
            return self._console(code, example)
        # The lines before it make line numbers those of the page.
        compiled = compile("\n" * (block.line - 1) + code, example.path, "exec")
        if block.file is not None:
            return None
        if block.needs == "cuda" and not has_cuda():
            self.remarks.append(f"{where}: compiled, not run: needs cuda")
        elif block.long and not self.long:
            self.remarks.append(f"{where}: compiled, not run")
        else:
            exec(compiled, example.namespace)
        return None

    def _console(self, code: str, example: Example) -> str | None:
        parts = list(DocTestStringParser(self._doctest)(code, example.path))
        if not parts:
            return "a pycon block must hold >>> lines, got none"
        for part in parts:
            example.parsed = part.parsed
            wrong = self._doctest(example)
            if wrong:
                return wrong
        return None


def has_cuda() -> bool:
    """Return whether there is a device for the blocks that need one."""
    import torch  # only here: most pages import it anyway, and it takes a second

    return torch.cuda.is_available()


def invalid(language: str, code: str) -> str | None:
    """Return what is wrong with a block of data."""
    try:
        if language == "toml":
            tomllib.loads(code)
        elif language == "json":
            json.loads(code)
    except ValueError as error:
        return f"invalid {language}: {error}"
    return None


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let Python import from a folder, and forget it and what came from there again."""
    path = sys.path.copy()
    sys.path.insert(0, str(folder))
    yield
    sys.path[:] = path
    # Relative entries of another page's path are remembered with its folder.
    sys.path_importer_cache.clear()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


RUNNER = pytest.StashKey[Runner]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option `--long`."""
    parser.addoption("--long", action="store_true", help="run all blocks, as they are written")


def pytest_configure(config: pytest.Config) -> None:
    """Let Sybil collect pages."""
    os.environ["MPLBACKEND"] = "Agg"
    runner = Runner(config.rootpath, long=config.getoption("--long"))
    config.stash[RUNNER] = runner
    config.add_cleanup(runner.close)
    sybil = Sybil(
        [runner.parse],
        pattern="*.md",
        path=str(config.rootpath),
        setup=runner.begin_page,
        teardown=runner.end_page,
    )
    collector = type("Pages", (), {"pytest_collect_file": staticmethod(sybil.pytest())})
    config.pluginmanager.register(collector)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """List what was not run as it is written."""
    remarks = config.stash[RUNNER].remarks
    if remarks:
        terminalreporter.section("not run as written; `nox -s blocks -- --long` does")
        for remark in remarks:
            terminalreporter.write_line(remark)
