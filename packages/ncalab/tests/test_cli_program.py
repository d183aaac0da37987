import os
import signal
import subprocess
import sys
import time
from importlib.metadata import entry_points
from pathlib import Path

import click
import pytest
from cli_models import Run

import ncalab
from ncalab.cli.app import program
from ncalab.cli.failure import Failure, one_line
from ncalab.cli.options import DEFAULT_SEED

COMMANDS = ["grow", "train", "predict", "animate", "export", "info", "doctor", "completion"]


def ncalab_process(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ncalab", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_the_version_is_that_of_the_distribution(run: Run) -> None:
    assert run("--version").output == f"ncalab {ncalab.__version__}\n"


def test_the_script_is_installed_under_its_name() -> None:
    (script,) = entry_points(group="console_scripts", name="ncalab")

    assert script.value == "ncalab.cli:main"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_examples_on_lines_of_their_own(run: Run, command: str) -> None:
    lines = [line.strip() for line in run(command, "--help").output.splitlines()]

    assert any(f"ncalab {command} " in line for line in lines[lines.index("Examples:") :])


def test_the_help_names_every_command(run: Run) -> None:
    output = run("--help").output

    assert sorted(program.commands) == sorted(COMMANDS)
    assert all(f"  {command} " in output for command in COMMANDS)


def test_the_help_has_the_commands_in_three_groups(run: Run) -> None:
    lines = [line.split() for line in run("--help").output.splitlines()]
    names = [line[0] for line in lines[lines.index(["Make", "a", "model:"]) :] if line]

    expected = ["Make", *COMMANDS[:2], "Use", *COMMANDS[2:6], "This", *COMMANDS[6:]]
    assert [name for name in names if name in expected] == expected


def test_help_does_not_wait_for_torch() -> None:
    script = (
        "import sys, click.testing; from ncalab.cli.app import program;"
        "results = [click.testing.CliRunner().invoke(program, [*name, '--help'])"
        " for name in ([], ['grow'], ['train'], ['predict'], ['animate'], ['export'], ['info'],"
        " ['doctor'])];"
        "assert all(result.exit_code == 0 for result in results);"
        "assert not {'torch', 'numpy', 'PIL', 'pydantic', 'matplotlib'} & set(sys.modules)"
    )

    assert subprocess.run([sys.executable, "-c", script]).returncode == 0


def test_the_default_seed_is_that_of_the_library() -> None:
    assert DEFAULT_SEED == ncalab.DEFAULT_RANDOM_SEED


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["grwo"], "No such command 'grwo'"),
        (["grow"], "Missing argument 'IMAGE'"),
        (["grow", "--epoch", "3"], "No such option '--epoch'"),
        (["info", "nowhere"], "'WEIGHTS': Path 'nowhere' does not exist"),
        (["grow", "setup.cfg", "--size", "0"], "'--size': 0 is not in the range x>=1"),
    ],
)
def test_bad_usage_is_one_line_and_code_2(
    run: Run, workplace: Path, arguments: list[str], message: str
) -> None:
    (workplace / "setup.cfg").write_text("")

    result = run(*arguments)

    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ") and message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_process_ends_with_the_code_and_one_line(tmp_path: Path) -> None:
    (tmp_path / "foreign.safetensors").write_bytes(b"not a model")

    result = ncalab_process("info", tmp_path / "foreign.safetensors")

    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ") and len(result.stderr.splitlines()) == 1
    assert "foreign.safetensors is not a whole safetensors file" in result.stderr


def test_traceback_shows_where_an_error_comes_from(tmp_path: Path) -> None:
    (tmp_path / "foreign.safetensors").write_bytes(b"not a model")

    result = ncalab_process("info", tmp_path / "foreign.safetensors", "--traceback")

    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ValueError("a"), 2),
        (TypeError("a"), 2),
        (FileNotFoundError("a"), 2),
        (ImportError("a"), 2),
        (PermissionError("a"), 2),
        (OSError(28, "No space left on device"), 1),
        (RuntimeError("a"), 1),
        (KeyError("a"), 1),
    ],
)
def test_only_what_was_given_wrong_is_code_2(error: Exception, code: int) -> None:
    assert Failure(error).exit_code == code


def test_an_unexpected_failure_is_named_by_its_type() -> None:
    assert one_line(Failure(KeyError("size"))) == "KeyError: 'size' (see --traceback)"


def test_messages_of_several_lines_become_one() -> None:
    error = click.ClickException("path must fit:\n  a is missing\n\n  b is missing")

    assert one_line(error) == "path must fit: a is missing; b is missing"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_call_the_program(run: Run, shell: str) -> None:
    result = run("completion", shell)

    assert result.exit_code == 0
    assert f"_NCALAB_COMPLETE={shell}_complete" in result.output and "ncalab" in result.output


def test_completion_answers_with_commands_and_options(tmp_path: Path) -> None:
    def complete(words: str, place: int) -> str:
        variables = {
            **os.environ,
            "_NCALAB_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(place),
        }
        command = [sys.executable, "-c", "from ncalab.cli import main; main()"]
        return subprocess.run(command, env=variables, capture_output=True, text=True).stdout

    assert "plain,predict" in complete("ncalab pre", 1)
    assert "plain,--padding" in complete("ncalab grow --pad", 2)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_keeps_a_training_says_how_to_resume_and_ends_with_130(picture: Path) -> None:
    command = [sys.executable, "-m", "ncalab", "grow", str(picture), "--size", "8", "--epochs"]
    folder = picture.parent / "run"
    # A signal to a group of its own, as a terminal sends it.
    process = subprocess.Popen(
        [*command, "1000000", "--output", str(folder), "--device", "cpu"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    # The first epoch is over: the training has begun.
    while "1/1000000 steps: " not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.2)
    # Twice, as from a terminal and from a program that passes on what the terminal sent.
    process.send_signal(signal.SIGINT)
    time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)

    assert process.returncode == 130
    assert f"ncalab grow {picture} --output {folder} --resume" in output
    assert (folder / "checkpoint.safetensors").is_file()
    assert (folder / "pretrained" / "model.safetensors").is_file()
