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
    if path.name.startswith("ncalab_core-") and not {"hatch_build.py", "native/entries.h"} <= names:
        yield "no C++ to compile"
    if not any(name.startswith("tests/test_") for name in names):
        yield "no tests"


def name_of(path: Path) -> str:
    """Return the part that an archive is of."""
    return path.name.partition("-")[0]


def has_engine(path: Path) -> bool:
    """Return whether a wheel has libraries that were compiled."""
    with zipfile.ZipFile(path) as archive:
        return any("/compiled/lib/" in name for name in archive.namelist())


def main(folder: Path) -> int:
    """Print what is wrong, and return how much that is."""
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    # Of core there is a wheel for each platform.
    if not wheels or {name_of(path) for path in wheels} != {name_of(path) for path in sdists}:
        print(f"{folder} must hold a wheel and an sdist of each part, got {wheels + sdists}")
        return 1
    found = [f"{path.name} has {wrong}" for path in wheels for wrong in wrong_in_wheel(path)]
    found += [f"{path.name} has {wrong}" for path in sdists for wrong in wrong_in_sdist(path)]
    core = [path for path in wheels if name_of(path) == "ncalab_core"]
    if core and not any(has_engine(path) for path in core):
        found.append("no wheel of ncalab_core has the compiled engine")
    print("\n".join(found) or f"{len(wheels)} wheels and {len(sdists)} sdists hold what they must")
    return len(found)


if __name__ == "__main__":
    sys.exit(1 if main(Path(sys.argv[1])) else 0)
