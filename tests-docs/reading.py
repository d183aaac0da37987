"""Read the code blocks of a page, and their marks.

A mark is an HTML comment right before a block; readers do not see it:

    <!-- long -->                          run by `nox -s blocks -- --long` only, else checked
    <!-- long: empty environment -->       the same, and from here on in a virtual environment
                                           of the page's own, which is empty at first
    <!-- needs: cuda -->                   run where there is such a device, else compiled or
                                           checked
    <!-- shorten: epochs=800 -> epochs=3 -->  replaced, unless everything is run as written
    <!-- file: train.py -->                saved under this name instead of run

A block that readers do not see, for what a page presumes or promises, is a comment as well:

    <!-- hidden: python
    assert metrics["dice"] > 0.5
    -->
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from markdown_it import MarkdownIt
from markdown_it.token import Token

# What else may stand in a block: shown, not run. JSON and TOML must be valid.
RUN = ("python", "pycon", "bash")
SHOWN = ("text", "bibtex", "json", "toml")
# Directives of MyST that hold no code; Sphinx builds them, with warnings as errors.
DIRECTIVES = ("eval-rst", "toctree", "include", "figure", "image", "list-table")
MARKS = ("long", "needs", "shorten", "file", "newcomer")
ARROW = " -> "
EMPTY = "empty environment"

FENCE = re.compile(r"^[\s>]*(```|~~~)")
COMMENT = re.compile(r"<!--\s*(.*?)\s*-->\s*", re.DOTALL)
MARK = re.compile(r"(?P<name>[\w-]+)(?::\s*(?P<value>.*))?", re.DOTALL)
HIDDEN = re.compile(
    r"\s*<!-- hidden: (?P<language>\w+)\n(?P<code>.*?)^\s*-->\s*$", re.DOTALL | re.M
)


class PageError(ValueError):
    """A page is written in a way that would let a block escape."""


@dataclass(frozen=True)
class Block:
    """A code block, the line (from 1) at which its code begins, and its marks."""

    language: str
    code: str
    line: int
    first: int
    last: int
    long: bool = False
    empty_environment: bool = False
    needs: str | None = None
    file: str | None = None
    shorten: tuple[tuple[str, str], ...] = ()

    def shortened(self) -> str:
        """Return the code with its replacements made.

        Raises:
            PageError: If what is to be replaced is not there: the page has changed since.
        """
        code = self.code
        for old, new in self.shorten:
            if old not in code:
                raise PageError(f"shorten must name a part of the block, got {old!r}")
            code = code.replace(old, new)
        return code


@dataclass
class _Marks:
    """Marks in the comments before the next block."""

    line: int = 0
    values: dict[str, object] = field(default_factory=dict)
    shorten: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, value: str) -> None:
        if name == "shorten":
            old, arrow, new = value.partition(ARROW)
            if not arrow:
                raise PageError(f"shorten must be 'old{ARROW}new', got {value!r}")
            self.shorten.append((old, new))
        elif name == "long":
            if value not in ("", EMPTY):
                raise PageError(f"long must be alone or 'long: {EMPTY}', got {value!r}")
            self.values |= {"long": True, "empty_environment": value == EMPTY}
        elif name == "file":
            path = PurePosixPath(value)
            if not value or path.is_absolute() or ".." in path.parts:
                raise PageError(f"file must be a path within the repository, got {value!r}")
            self.values["file"] = value
        elif name == "needs":
            if value != "cuda":
                raise PageError(f"needs must be cuda, got {value!r}")
            self.values["needs"] = value


def blocks(text: str) -> Iterator[Block]:
    """Yield the code blocks of a page of Markdown, hidden ones included.

    Raises:
        PageError: Naming the line, if a block has no language or one that is not known, or if a
            mark is unknown, misplaced or misspelt.
    """
    tokens = MarkdownIt("commonmark").parse(text)
    _check_that_no_fence_escapes(text, tokens)
    marks = _Marks()
    for token in tokens:
        line = token.map[0] + 1 if token.map else 0
        try:
            if token.type == "html_block":
                hidden = HIDDEN.fullmatch(token.content)
                if hidden:
                    yield _block(token, hidden["language"], hidden["code"], marks)
                    marks = _Marks()
                else:
                    _read_comments(token, marks)
            elif token.type == "code_block":
                raise PageError("a block must have a fence and a language, got an indented one")
            elif token.type == "fence":
                directive = re.fullmatch(r"\{([\w-]+)\}.*", token.info.strip())
                if directive:
                    _check_directive(directive[1], token)
                else:
                    yield _block(token, token.info.strip(), token.content, marks)
                marks = _Marks()
            elif token.nesting >= 0 and token.map and (marks.values or marks.shorten):
                raise PageError(f"a mark must stand right before a block, got one in {marks.line}")
        except PageError as error:
            raise PageError(f"line {line}: {error}") from None
    if marks.values or marks.shorten:
        raise PageError(f"line {marks.line}: a mark must stand right before a block")


def _block(token: Token, language: str, code: str, marks: _Marks) -> Block:
    if language not in (*RUN, *SHOWN):
        known = ", ".join((*RUN, *SHOWN))
        raise PageError(f"the language of a block must be one of {known}, got {language!r}")
    if language in SHOWN and (marks.shorten or marks.values.keys() - {"file"}):
        raise PageError(f"a {language} block is not run, so its only mark can be file")
    assert token.map is not None
    first, last = token.map
    block = Block(language, code, first + 2, first, last, shorten=tuple(marks.shorten))
    block.shortened()
    return replace(block, **marks.values)  # type: ignore[arg-type]  # marks are named like fields


def _read_comments(token: Token, marks: _Marks) -> None:
    assert token.map is not None
    for comment in COMMENT.findall(token.content):
        match = MARK.fullmatch(comment)
        if match and match["name"] in MARKS:
            marks.line = token.map[0] + 1
            marks.add(match["name"], match["value"] or "")
        elif match and match["value"] is not None and "\n" in comment:
            raise PageError(f"a comment with code must begin with 'hidden: LANGUAGE': {comment!r}")


def _check_directive(name: str, token: Token) -> None:
    if name not in DIRECTIVES:
        raise PageError(f"a directive must be one of {', '.join(DIRECTIVES)}, got {{{name}}}")
    if "code-block::" in token.content or ">>>" in token.content:
        raise PageError("code must stand in a block of its own, not in a directive")


def _check_that_no_fence_escapes(text: str, tokens: list[Token]) -> None:
    """Compare with a plain search: HTML, say, hides a fence from Markdown, but not from readers."""
    seen: set[int] = set()
    for token in tokens:
        if token.map and (token.type == "fence" or HIDDEN.fullmatch(token.content)):
            seen.update(range(*token.map))
    for number, content in enumerate(text.splitlines()):
        if FENCE.match(content) and number not in seen:
            raise PageError(f"line {number + 1}: this fence is none for Markdown; an empty line?")
