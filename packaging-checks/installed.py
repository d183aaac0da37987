"""Import every module of the installed parts, in an environment with nothing but them.

A module may be missing something only if that is what an extra installs: it then raises a
ModuleNotFoundError of a package that an extra of its part names, or an ImportError that says which
extra to install. What is installed beside the parts is what they depend on, and must be no tool.
"""

import re
import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import Distribution, distributions

TOOLS = {
    "build",
    "coverage",
    "deptry",
    "hatchling",
    "hypothesis",
    "import-linter",
    "mypy",
    "nox",
    "pre-commit",
    "pytest",
    "ruff",
    "sphinx",
    "sybil",
    "twine",
    "uv",
}


def normalized(name: str) -> str:
    """Return the name of a distribution as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parts() -> list[Distribution]:
    """Return the installed distributions of this project."""
    return [d for d in distributions() if re.fullmatch(r"ncalab(-\w+)?", normalized(d.name))]


def modules(part: Distribution) -> Iterator[str]:
    """Name the modules in a distribution; one that runs when it is imported is not among them."""
    for file in part.files or ():
        if file.suffix == ".py" and file.name != "__main__.py":
            yield ".".join(file.with_suffix("").parts).removesuffix(".__init__")


def optional(part: Distribution) -> set[str]:
    """Return what the extras of a part install."""
    listed = [requirement for requirement in part.requires or () if "extra ==" in requirement]
    return {normalized(re.split(r"[^\w.-]", requirement)[0]) for requirement in listed}


def is_documented(error: ImportError, part: Distribution) -> bool:
    """Say whether a module may fail with this error where no extra is installed."""
    extras = part.metadata.get_all("Provides-Extra") or []
    if any(f"{normalized(part.name)}[{extra}]" in str(error) for extra in extras):
        return True
    missing = (error.name or "").partition(".")[0]
    return isinstance(error, ModuleNotFoundError) and normalized(missing) in optional(part)


def failures(part: Distribution) -> Iterator[str]:
    """Import all modules of a part and describe what must not have happened."""
    imported, missing = 0, []
    for name in sorted(modules(part)):
        try:
            import_module(name)
            imported += 1
        except ImportError as error:
            if is_documented(error, part):
                missing.append(f"  {name} needs an extra: {error}")
            else:
                yield f"{name}: {error!r}"
        except Exception as error:  # whatever a module raises is a failure of that module
            yield f"{name}: {error!r}"
    print("\n".join([f"{part.name} {part.version}: {imported} modules imported", *missing]))


def main() -> int:
    """Print what is wrong, and return how much that is."""
    installed = {normalized(distribution.name) for distribution in distributions()}
    wrong = [f"{tool} is a tool, and a run-time dependency" for tool in sorted(TOOLS & installed)]
    found = parts()
    if not found:
        wrong.append("no part is installed")
    for part in found:
        wrong += failures(part)
    print("\n".join(wrong) or f"{len(installed)} distributions, none of them a tool")
    return len(wrong)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
