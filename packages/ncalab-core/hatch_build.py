"""Compile the C++ of ``native/`` while the package is built.

Nothing of Python or PyTorch is linked: the libraries are loaded by ctypes, so that one wheel
serves every Python and every PyTorch of a platform. The compiler is that of the environment
variable ``CXX``, else the one that the system has, else Zig's, which pip brings as ``ziglang``.
Where none of them works, the package is built without the compiled engine and uses the one of
PyTorch operations, unless ``NCALAB_COMPILED`` says what to do:

- ``require``: fail;
- ``skip``: do not compile;
- a platform tag, such as ``manylinux_2_17_aarch64``: compile for that platform with Zig.

With ``NCALAB_COMPILED_CACHE`` set to a folder, what was compiled before by the same compiler with
the same flags from the same sources is taken from there.
"""

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ZIG = "ziglang>=0.14"
SOURCES = ("float32.cpp", "float64.cpp")
# Where the package looks for the libraries, within ``src``.
TARGET = "ncalab/core/rollout/cpu/compiled/lib"
FLAGS = [
    "-std=c++17",
    "-O3",
    "-g0",
    "-shared",
    "-fno-exceptions",
    "-fno-rtti",
    "-fno-math-errno",
    "-ffp-contract=fast",
    "-fvisibility=hidden",
    "-Wno-unknown-pragmas",
]


class Platform(NamedTuple):
    """A kind of machine.

    Attributes:
        target: Its name for Zig.
        levels: Flags of Zig for the processor of each library, by the name of the library.
        suffix: How libraries are called.
    """

    target: str
    levels: dict[str, list[str]]
    suffix: str


X86 = {
    "x86_64_v4": ["-mcpu=x86_64_v4", "-mprefer-vector-width=512"],
    "x86_64_v3": ["-mcpu=x86_64_v3"],
}
ARM: dict[str, list[str]] = {"aarch64": []}
# By the tag of the wheel.
PLATFORMS = {
    "manylinux_2_17_x86_64": Platform("x86_64-linux-gnu.2.17", X86, ".so"),
    "manylinux_2_17_aarch64": Platform("aarch64-linux-gnu.2.17", ARM, ".so"),
    "macosx_11_0_x86_64": Platform("x86_64-macos.11.0", X86, ".dylib"),
    "macosx_11_0_arm64": Platform("aarch64-macos.11.0", ARM, ".dylib"),
    "win_amd64": Platform("x86_64-windows-gnu", X86, ".dll"),
    "win_arm64": Platform("aarch64-windows-gnu", ARM, ".dll"),
}


def wish() -> str:
    """Return what the environment asks for."""
    return os.environ.get("NCALAB_COMPILED", "")


def system_compiler() -> list[str] | None:
    """Return the C++ compiler of this machine, if there is one of GCC's kind."""
    if chosen := os.environ.get("CXX"):
        return shlex.split(chosen)
    if os.name == "nt":
        # Microsoft's compiler does not know vector types.
        return None
    found = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    return None if found is None else [found]


def levels_here() -> dict[str, list[str]]:
    """Return the flags of a system's compiler for each library that this machine may use."""
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):
        return {
            "x86_64_v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
            "x86_64_v3": ["-march=x86-64-v3"],
        }
    return {"aarch64": []} if machine in ("arm64", "aarch64") else {}


def zig_runs_here() -> bool:
    """Return whether pip has Zig for this machine."""
    known = ("x86_64", "amd64", "arm64", "aarch64")
    return sys.platform in ("linux", "darwin", "win32") and platform.machine().lower() in known


class CompiledEngine(BuildHookInterface[Any]):
    """Adds the compiled libraries to the wheel; in an editable installation, to the sources."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what must be installed before: Zig, where the system has no compiler."""
        if wish() == "skip" or (wish() not in PLATFORMS and system_compiler()):
            return []
        return [ZIG] if zig_runs_here() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and say where the results are."""
        if self.target_name != "wheel" or wish() == "skip":
            return
        if version == "editable":
            folder = Path(self.root, "src", TARGET)
            self._try_to_compile(folder)
            return
        folder = self._folder = Path(tempfile.mkdtemp())
        if self._try_to_compile(folder):
            tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"] = False
            build_data["tag"] = f"py3-none-{wish() if wish() in PLATFORMS else tag}"
            for library in folder.iterdir():
                build_data["force_include"][str(library)] = f"{TARGET}/{library.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove what is in the wheel now."""
        del version, build_data, artifact_path
        if hasattr(self, "_folder"):
            shutil.rmtree(self._folder, ignore_errors=True)

    def _try_to_compile(self, folder: Path) -> bool:
        """Compile into a folder; return whether there is anything in it now."""
        try:
            return self._compile(folder)
        except (OSError, subprocess.CalledProcessError) as error:
            if wish():
                raise
            details = getattr(error, "stderr", None) or error
            self.app.display_warning(f"ncalab-core without the compiled engine: {details}")
            return False

    def _compile(self, folder: Path) -> bool:
        command, levels, suffix = self._choose()
        folder.mkdir(parents=True, exist_ok=True)
        sources = [str(Path(self.root, "native", name)) for name in SOURCES]

        def build(level: str) -> None:
            library = folder / f"rollout-{level}{suffix}"
            # Under another name first: another process may be using the old one.
            fresh = library.with_name(f"{library.name}.{os.getpid()}")
            arguments = [*command, *FLAGS, *levels[level], *sources]
            kept = self._kept(command, arguments)
            if kept is not None and kept.exists():
                shutil.copyfile(kept, fresh)
            else:
                run = [*arguments, "-o", str(fresh)]
                subprocess.run(run, check=True, capture_output=True, text=True)
                if kept is not None:
                    shutil.copyfile(fresh, beside := kept.with_name(f"{kept.name}.{os.getpid()}"))
                    beside.replace(kept)
            fresh.replace(library)

        with ThreadPoolExecutor() as pool:
            list(pool.map(build, levels))
        return bool(levels)

    def _kept(self, command: list[str], arguments: list[str]) -> Path | None:
        """Return where the result of a call of the compiler is kept; None for nowhere."""
        folder = os.environ.get("NCALAB_COMPILED_CACHE")
        if not folder:
            return None
        version = subprocess.run([*command, "--version"], check=True, capture_output=True)
        digest = hashlib.sha256(version.stdout)
        # A copy of the sources in another folder gives the same library.
        digest.update(repr([part.replace(self.root, "") for part in arguments]).encode())
        for source in sorted(Path(self.root, "native").iterdir()):
            digest.update(source.name.encode() + source.read_bytes())
        Path(folder).mkdir(parents=True, exist_ok=True)
        return Path(folder, digest.hexdigest())

    def _choose(self) -> tuple[list[str], dict[str, list[str]], str]:
        """Return the compiler, the flags of each library, and how libraries are called."""
        position = [] if os.name == "nt" else ["-fPIC"]
        compiler = system_compiler()
        if wish() not in PLATFORMS and compiler:
            suffix = ".dylib" if sys.platform == "darwin" else ".so"
            return [*compiler, *position], levels_here(), suffix
        if importlib.util.find_spec("ziglang") is None:
            raise OSError("there is no C++ compiler, and the package ziglang is not installed")
        zig = [sys.executable, "-m", "ziglang", "c++", "-nostdlib++"]
        if wish() in PLATFORMS:
            wanted = PLATFORMS[wish()]
            windows = wanted.suffix == ".dll"
            position = [] if windows else ["-fPIC"]
            return [*zig, *position, "-target", wanted.target], wanted.levels, wanted.suffix
        suffix = {"darwin": ".dylib", "win32": ".dll"}.get(sys.platform, ".so")
        return [*zig, *position], X86 if "x86_64_v4" in levels_here() else ARM, suffix
