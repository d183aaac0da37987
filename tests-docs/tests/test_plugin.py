"""Wrong blocks fail, by page and line; right ones run in a clone of their own."""

from pathlib import Path

import pytest
from repository import git

pytest_plugins = ["pytester"]


@pytest.fixture
def repository(pytester: pytest.Pytester) -> Path:
    (pytester.path / "data.txt").write_text("7\n", encoding="utf-8")
    git(pytester.path, "init", "--quiet")
    return pytester.path


def run(pytester: pytest.Pytester, page: str, *options: str) -> pytest.RunResult:
    (pytester.path / "page.md").write_text(page, encoding="utf-8")
    return pytester.runpytest_inprocess("-p", "plugin", "-p", "no:doctest", *options, "page.md")


def python(code: str, mark: str = "") -> str:
    return f"{mark}\n```python\n{code}\n```\n"


def bash(code: str, mark: str = "") -> str:
    return f"{mark}\n```bash\n{code}\n```\n"


def test_blocks_of_a_page_share_names_and_run_where_its_files_are(
    pytester: pytest.Pytester, repository: Path
) -> None:
    page = (
        python("number = int(open('data.txt').read())")
        + python("assert number == 7\nopen('new.txt', 'w').write('x')")
        + bash("test -f new.txt")
        + "\n```pycon\n>>> number + 1\n8\n\n```\n"
    )

    run(pytester, page).assert_outcomes(passed=4)

    assert not (repository / "new.txt").exists()


def test_a_wrong_python_block_fails_with_its_line(
    pytester: pytest.Pytester, repository: Path
) -> None:
    result = run(pytester, python("a = 1") + "\nText\n" + python("a = 2\nb = undefined"))

    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*page.md:10: NameError", "FAILED page.md::line:8*"])


def test_a_wrong_bash_block_fails_though_its_last_command_passes(
    pytester: pytest.Pytester, repository: Path
) -> None:
    run(pytester, bash("cat missing.txt\ntrue")).assert_outcomes(failed=1)
    run(pytester, bash("cat missing.txt | wc\ntrue")).assert_outcomes(failed=1)
    run(pytester, bash('echo "$UNSET_VARIABLE"')).assert_outcomes(failed=1)


def test_a_wrong_console_session_or_data_block_fails(
    pytester: pytest.Pytester, repository: Path
) -> None:
    run(pytester, "```pycon\n>>> 1 + 1\n3\n\n```\n").assert_outcomes(failed=1)
    run(pytester, "```toml\na = = 1\n```\n").assert_outcomes(failed=1)
    run(pytester, "```json\n{]\n```\n").assert_outcomes(failed=1)


def test_a_block_without_a_language_fails(pytester: pytest.Pytester, repository: Path) -> None:
    result = run(pytester, "Text\n\n```\nx\n```\n")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*line 3: the language of a block must be one of*"])


def test_what_is_not_run_as_written_is_listed(pytester: pytest.Pytester, repository: Path) -> None:
    page = (
        python("a = 800", "<!-- shorten: 800 -> 3 -->")
        + python("assert a == 3")
        + python("raise SystemExit", "<!-- long -->")
        + bash("python -c 'exit(3)'", "<!-- long -->").replace("-c 'exit(3)'", "-m json.tool")
    )

    result = run(pytester, page)

    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        [
            "page.md:2: shortened: 800 -> 3",
            "page.md:10: compiled, not run",
            "page.md:14: checked, not run",
        ]
    )


def test_long_runs_everything_as_written(pytester: pytest.Pytester, repository: Path) -> None:
    page = (
        python("a = 800", "<!-- shorten: 800 -> 3 -->")
        + python("assert a == 800", "<!-- long -->")
        + bash("exit 3", "<!-- long -->")
    )

    run(pytester, page, "--long").assert_outcomes(passed=2, failed=1)


def test_an_empty_environment_holds_nothing_and_lasts_for_the_page(
    pytester: pytest.Pytester, repository: Path
) -> None:
    page = bash("python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)'", "<!-- long -->")
    empty = bash("! python -c 'import pytest'", "<!-- long: empty environment -->")
    later = bash("! python -c 'import pytest'")

    run(pytester, page + empty + later, "--long").assert_outcomes(passed=3)


def test_exported_variables_last_for_the_page(pytester: pytest.Pytester, repository: Path) -> None:
    run(pytester, bash("export WORD=cell") + bash('test "$WORD" = cell')).assert_outcomes(passed=2)


def test_a_saved_file_is_not_run_but_can_be(pytester: pytest.Pytester, repository: Path) -> None:
    page = python("raise SystemExit(3)", "<!-- file: sub/script.py -->")

    run(pytester, page + bash("python sub/script.py || test $? = 3")).assert_outcomes(passed=2)


def test_installing_must_be_marked(pytester: pytest.Pytester, repository: Path) -> None:
    result = run(pytester, bash("python -m pip install torch"))

    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*must be marked long*"])
