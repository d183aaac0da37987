"""Hold the built archives in a folder against what each must contain: `archives.py FOLDER`."""

import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path


def wrong_in_wheel(path: Path) -> Iterator[str]:
    """Name what is wrong with a wheel."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if not any(name.endswith("/py.typed") for name in names):
        yield "no py.typed"
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in names):
        yield "no licence"
    # Without the umbrella, the parts share a namespace; a file of it would hide the other parts.
    umbrella = path.name.startswith("ncalab-")
    if not umbrella and {"ncalab/__init__.py", "ncalab/py.typed"} & set(names):
        yield "files of the namespace package, which are the umbrella's"
    for name in names:
        if not name.startswith("ncalab/") and ".dist-info/" not in name:
            yield f"{name}, which is outside the package"
        if "tests" in Path(name).parts or Path(name).name.startswith(("test_", "conftest")):
            yield f"the test {name}"


def wrong_in_sdist(path: Path) -> Iterator[str]:
    """Name what is wrong with a source distribution."""
    with tarfile.open(path) as archive:
        # Without the folder that holds everything.
        names = {name.partition("/")[2] for name in archive.getnames()}
    for wanted in ("LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml"):
        if wanted not in names:
            yield f"no {wanted}"
    if not any(name.startswith("tests/test_") for name in names):
        yield "no tests"


def main(folder: Path) -> int:
    """Print what is wrong, and return how much that is."""
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if not wheels or len(wheels) != len(sdists):
        print(f"{folder} must hold a wheel and an sdist of each part, got {wheels + sdists}")
        return 1
    found = [f"{path.name} has {wrong}" for path in wheels for wrong in wrong_in_wheel(path)]
    found += [f"{path.name} has {wrong}" for path in sdists for wrong in wrong_in_sdist(path)]
    print("\n".join(found) or f"{len(wheels)} wheels and {len(sdists)} sdists hold what they must")
    return len(found)


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1])) else 0)
