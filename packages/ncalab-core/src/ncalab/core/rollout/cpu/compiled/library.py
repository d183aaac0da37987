"""Finding and loading the compiled functions that suit this processor."""

import ctypes
import logging
import platform
from ctypes import c_int64, c_void_p
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from ncalab.core.rollout.cpu.compiled.structures import Rollout32, Rollout64

_logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent / "lib"
_NAMES = {torch.float32: "float", torch.float64: "double"}
_POINTER, _NUMBER = c_void_p, c_int64
# ``INTERFACE`` in native/entries.h.
INTERFACE = 1
OTHER_VERSION = "the compiled engine is of another version: install ncalab-core again"
# What the functions take; all return a number.
_ARGUMENTS: dict[str, list[Any]] = {
    "interface": [],
    "lanes": [],
    "enter": [_POINTER] * 3,
    "leave": [_POINTER] * 3,
    "forward": [_POINTER, _NUMBER, _NUMBER, *[_POINTER] * 3],
    "backward": [_POINTER, _NUMBER, _NUMBER, *[_POINTER] * 5],
    "open_bands": [_POINTER, _NUMBER, _NUMBER],
    "close_bands": [_POINTER],
    "forward_in_bands": [*[_POINTER] * 3, _NUMBER, _NUMBER, *[_POINTER] * 2],
    "open_rows": [_POINTER],
    "close_rows": [_POINTER],
    "list_rows": [*[_POINTER] * 2, _NUMBER, *[_POINTER] * 3],
    "room_for_rows": [_POINTER] * 3,
    "see_rows": [*[_POINTER] * 3, _NUMBER, _NUMBER, _POINTER, _NUMBER],
    "finish_rows": [*[_POINTER] * 5, _NUMBER, _POINTER, _NUMBER],
    "undo_rows": [*[_POINTER] * 2, _NUMBER, *[_POINTER] * 2, _NUMBER, _POINTER],
    "begin_rows_back": [*[_POINTER] * 5, _NUMBER, _POINTER, _NUMBER],
    "see_rows_back": [*[_POINTER] * 3, _NUMBER, _NUMBER, _POINTER, _NUMBER, *[_POINTER] * 2],
    "end_rows_back": [_POINTER] * 2,
    "backward_in_bands": [*[_POINTER] * 3, _NUMBER, _NUMBER, *[_POINTER] * 4],
}


class Library:
    """The compiled functions for one type of number, each under its name in ``native/entries.h``.

    Args:
        loaded: The loaded library.
        dtype: float32 or float64.
    """

    def __init__(self, loaded: ctypes.CDLL, dtype: torch.dtype) -> None:
        self._functions: dict[str, Any] = {}
        for name, arguments in _ARGUMENTS.items():
            function = getattr(loaded, f"ncalab_{name}_{_NAMES[dtype]}")
            function.argtypes, function.restype = arguments, c_int64
            self._functions[name] = function
        self.lanes: int = self.call("lanes")

    def call(self, name: str, *arguments: Any) -> int:
        """Call a function; other threads of Python run meanwhile.

        Raises:
            MemoryError: If there was no memory for its buffers.
        """
        result = int(self._functions[name](*arguments))
        if result < 0:
            raise MemoryError(f"no memory for the buffers of a rollout ({name})")
        return result


def levels() -> list[str]:
    """Return the names of the instruction sets that this processor has, the best first.

    PyTorch is asked, which obeys the environment variable ``ATEN_CPU_CAPABILITY``.
    """
    machine = platform.machine().lower()
    if machine in ("arm64", "aarch64"):
        return ["aarch64"]
    if machine in ("x86_64", "amd64"):
        found = torch.backends.cpu.get_cpu_capability()
        return {"AVX512": ["x86_64_v4", "x86_64_v3"], "AVX2": ["x86_64_v3"]}.get(found, [])
    return []


@lru_cache(maxsize=1)
def _load() -> ctypes.CDLL | str:
    """Return the loaded library, or the reason why there is none."""
    wanted = levels()
    if not wanted:
        return "the compiled engine does not know this processor"
    for level in wanted:
        for path in sorted(FOLDER.glob(f"rollout-{level}.*")):
            try:
                return ctypes.CDLL(str(path))
            except OSError as error:
                _logger.warning("%s cannot be loaded: %s", path, error)
    reason = "ncalab-core was installed without the compiled engine"
    _logger.warning("%s: rollouts are slower on PyTorch operations", reason)
    return reason


@lru_cache(maxsize=2)
def library(dtype: torch.dtype) -> Library | str:
    """Return the compiled functions for a dtype, or the reason why there are none."""
    if dtype not in _NAMES:
        return f"the compiled engine does not know {dtype}"
    loaded = _load()
    if isinstance(loaded, str):
        return loaded
    try:
        found = Library(loaded, dtype)
    except AttributeError:
        return _other_version()
    structure = Rollout32 if dtype == torch.float32 else Rollout64
    if found.call("interface") != 1000 * INTERFACE + ctypes.sizeof(structure):
        return _other_version()
    return found


def _other_version() -> str:
    _logger.warning("%s; until then, rollouts run on slower engines", OTHER_VERSION)
    return OTHER_VERSION
