"""Blocks are recognised, and prose is not taken for one."""

import pytest
from reading import Block, PageError, blocks


def read(*lines: str) -> list[Block]:
    return list(blocks("\n".join(lines) + "\n"))


def test_a_block_knows_its_language_and_its_line() -> None:
    (block,) = read("# Title", "", "```python", "a = 1", "```")

    assert (block.language, block.code, block.line) == ("python", "a = 1\n", 4)


@pytest.mark.parametrize("language", ["", "pyton", "python title", "console", "sh"])
def test_a_language_that_is_not_known_is_an_error(language: str) -> None:
    with pytest.raises(PageError, match=r"line 1: the language of a block must be one of"):
        read(f"```{language}", "a = 1", "```")


def test_an_indented_block_is_an_error() -> None:
    with pytest.raises(PageError, match="line 3: a block must have a fence"):
        read("Text", "", "    a = 1")


def test_blocks_in_lists_quotes_and_admonitions_are_found() -> None:
    # Lines of a page, a block on each line here.
    found = read(
        "- item", "", "  ```python", "  a = 1", "  ```", "", "> ```bash", "> ls", "> ```",
        "", ":::{tip}", "~~~python", "b = 1", "~~~", ":::",
    )  # fmt: skip

    assert [block.code for block in found] == ["a = 1\n", "ls\n", "b = 1\n"]


def test_a_fence_that_html_hides_from_markdown_is_an_error() -> None:
    with pytest.raises(PageError, match="line 2: this fence is none for Markdown"):
        read("<details>", "```python", "a = 1", "```", "</details>")


def test_a_block_that_is_never_closed_ends_with_the_page() -> None:
    (block,) = read("```python", "a = 1")

    assert block.code == "a = 1\n"


def test_directives_that_sphinx_builds_are_no_blocks() -> None:
    assert read("```{toctree}", "a", "```") == []


@pytest.mark.parametrize("directive", ["code-block", "code-cell", "note"])
def test_other_directives_are_errors(directive: str) -> None:
    with pytest.raises(PageError, match="a directive must be one of"):
        read(f"```{{{directive}}} python", "a = 1", "```")


def test_marks_belong_to_the_next_block_only() -> None:
    first, second = read(
        "<!-- long: empty environment -->", "```bash", "ls", "```", "", "```bash", "ls", "```"
    )

    assert (first.long, first.empty_environment) == (True, True)
    assert (second.long, second.empty_environment) == (False, False)


def test_a_mark_with_no_block_after_it_is_an_error() -> None:
    with pytest.raises(PageError, match="a mark must stand right before a block"):
        read("<!-- long -->", "Text", "", "```python", "a = 1", "```")


def test_replacements_are_made_in_order() -> None:
    # Lines of a page, the block on one line here.
    (block,) = read(
        "<!-- shorten: epochs=800 -> epochs=3 -->",
        "<!-- shorten: n=9 -> n=1 -->",
        "```python", "f(epochs=800, n=9)", "```",
    )  # fmt: skip

    assert block.code == "f(epochs=800, n=9)\n"
    assert block.shortened() == "f(epochs=3, n=1)\n"


def test_a_replacement_of_what_is_not_there_is_an_error() -> None:
    with pytest.raises(PageError, match="line 2: shorten must name a part of the block"):
        read("<!-- shorten: epochs=8 -> epochs=3 -->", "```python", "f(epochs=9)", "```")


def test_a_hidden_block_is_a_block() -> None:
    (block,) = read("Text", "", "<!-- hidden: python", "assert 1 -> 2", "", "b = 3", "-->")

    assert (block.language, block.code) == ("python", "assert 1 -> 2\n\nb = 3\n")
    assert block.line == 4


@pytest.mark.parametrize("name", ["hiden: python", "hidden: pyton", "python:"])
def test_a_misspelt_hidden_block_is_an_error(name: str) -> None:
    with pytest.raises(PageError, match=r"hidden: LANGUAGE|language of a block"):
        read(f"<!-- {name}", "assert False", "-->")


@pytest.mark.parametrize("path", ["", "/etc/x", "../x"])
def test_a_file_is_saved_within_the_clone_only(path: str) -> None:
    with pytest.raises(PageError, match="file must be a path within"):
        read(f"<!-- file: {path} -->", "```python", "a = 1", "```")
