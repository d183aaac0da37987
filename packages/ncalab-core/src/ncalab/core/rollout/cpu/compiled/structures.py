"""Arguments of the compiled functions, field by field as ``native/*.h`` declares them."""

import ctypes
from ctypes import Structure, c_double, c_float, c_int64, c_void_p
from typing import Any, ClassVar

Fields = list[tuple[str, Any]]


def _rollout(real: Any) -> Fields:
    return [
        ("samples", c_int64),
        ("cells", c_int64 * 3),
        ("frame", c_int64 * 3),
        ("channels", c_int64),
        ("first_mutable", c_int64),
        ("alive_mask", c_int64),
        ("threshold", c_int64),
        ("keys", c_void_p),
        ("keys_of_step", c_int64),
        ("first_cells", c_void_p),
        ("framed", c_int64),
        ("frame_cells", c_void_p),
        ("frame_sources", c_void_p),
        ("padded", c_int64),
        ("padding", c_void_p),
        ("views", c_int64),
        ("taps", c_void_p),
        ("offsets", c_void_p),
        ("factors", c_void_p),
        ("activation", c_int64),
        ("slope", real),
        ("hidden", c_int64),
        ("into", c_void_p),
        ("into_back", c_void_p),
        ("out", c_void_p),
        ("out_back", c_void_p),
        ("context", c_int64),
        ("program", c_void_p),
        ("bias", c_void_p),
        ("bias_of_step", c_int64),
        ("bias_of_sample", c_int64),
        ("spent", c_void_p),
        ("alive_threshold", real),
    ]


class Rollout32(Structure):
    """A rollout of float32 states: ``Rollout`` of ``native/rollout.h``."""

    _fields_: ClassVar[Fields] = _rollout(c_float)


class Rollout64(Structure):
    """A rollout of float64 states."""

    _fields_: ClassVar[Fields] = _rollout(c_double)


class Tape(Structure):
    """Values of some steps that the backward pass needs: ``Tape`` of ``native/forward.h``."""

    _fields_: ClassVar[Fields] = [
        ("rows", c_void_p),
        ("rows_room", c_int64),
        ("rows_used", c_int64),
        ("fates", c_void_p),
        ("fates_room", c_int64),
        ("fates_used", c_int64),
        ("boxes", c_void_p),
        ("starts", c_void_p),
    ]


class Gradients(Structure):
    """Sums of gradients: ``Gradients`` of ``native/backward.h``."""

    _fields_: ClassVar[Fields] = [
        ("into", c_void_p),
        ("out_back", c_void_p),
        ("bias", c_void_p),
        ("factors", c_void_p),
        ("program", c_void_p),
    ]


class Columns(Structure):
    """Some columns of a slot or of the constants: ``Columns`` of ``native/program.h``."""

    _fields_: ClassVar[Fields] = [
        ("at", c_int64),
        ("first", c_int64),
        ("row", c_int64),
        ("wide", c_int64),
        ("way", c_int64),
    ]


class Operation(Structure):
    """An operation of a program: ``Operation`` of ``native/program.h``."""

    _fields_: ClassVar[Fields] = [
        ("kind", c_int64),
        ("width", c_int64),
        ("inner", c_int64),
        ("sums", c_int64),
        ("a", Columns),
        ("b", Columns),
        ("out", Columns),
        ("matrix", c_void_p),
        ("transposed", c_void_p),
        ("table", c_void_p),
        ("x", c_double),
        ("y", c_double),
    ]


class Program(Structure):
    """A rule as a list of operations: ``Program`` of ``native/program.h``."""

    _fields_: ClassVar[Fields] = [
        ("numbers", c_int64),
        ("count", c_int64),
        ("operations", c_void_p),
        ("constants", c_void_p),
        ("result", Columns),
        ("cleared", c_int64),
        ("clear", c_void_p),
    ]


class Team(Structure):
    """State shared by the threads of a rollout: ``Team`` of ``native/threads.h``."""

    _fields_: ClassVar[Fields] = [("bands", c_int64), ("taken", c_int64), ("done", c_int64)]


def copied(structure: Structure) -> Any:
    """Return a copy of a structure; what its pointers lead to is shared."""
    return type(structure).from_buffer_copy(bytes(structure))


def reference(structure: Any) -> Any:
    """Return a pointer to a structure, as an argument."""
    return ctypes.byref(structure)
