"""Fresh copies of the repository, in which the blocks of a page run."""

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

STATE = "exported.sh"


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints."""
    identity = ["-c", "user.name=blocks", "-c", "user.email=blocks@example.org"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def files(root: Path, *patterns: str) -> list[Path]:
    """List the files of a working tree that git does not ignore, relative to it."""
    listed = git(root, "ls-files", "-z", "-co", "--exclude-standard", "--", *patterns)
    paths = [Path(name) for name in sorted(set(listed.split("\0"))) if name]
    return [path for path in paths if (root / path).is_file()]


def snapshot(root: Path, folder: Path) -> None:
    """Copy a working tree, uncommitted changes included, into a repository of its own."""
    for path in files(root):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / path, target)
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=The state that is checked")


class Workplace:
    """Environment of one page's blocks: a fresh clone, and the shell's exported variables."""

    def __init__(self, template: Path, folder: Path) -> None:
        self.clone = folder / "ncalab"
        self._state = folder / STATE
        self._environment = folder / "environment"
        self._put_first(Path(sys.executable).parent)
        git(folder, "clone", "--quiet", str(template), str(self.clone))

    def use_an_empty_environment(self) -> None:
        """Let later shell commands run in a new virtual environment with nothing but pip."""
        venv.create(self._environment, with_pip=True, symlinks=os.name != "nt")
        self._put_first(self._environment / ("Scripts" if os.name == "nt" else "bin"))

    def _put_first(self, binaries: Path) -> None:
        """Let `python` and its tools be those of a folder."""
        self._state.write_text(
            f'export VIRTUAL_ENV="{binaries.parent}" PATH="{binaries}:$PATH"\n', encoding="utf-8"
        )

    def shell(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run a block as a shell script that stops at the first error.

        The next block begins in the clone's root again, with the variables that this one exported.
        """
        script = (
            f'if [ -f "{self._state}" ]; then . "{self._state}"; fi\n'
            f'{code}\nexport -p > "{self._state}"\n'
        )
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.clone,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
