"""Storage of the states of a tiled rollout: a tensor, or a file that is read in parts."""

import mmap
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncalab.core.checks import AXIS_NAMES, check_state

StateArray = Tensor | np.memmap


class TensorGrid:
    """One sample of a tensor of states.

    Args:
        states: States, shape ``(B, C, W, H)``.
        sample: Which sample.
    """

    def __init__(self, states: Tensor, sample: int) -> None:
        self.states = states[sample : sample + 1]

    def read(self, columns: range) -> Tensor:
        """Return a view of some columns, shape ``(1, C, w, H)``."""
        return self.states[:, :, columns.start : columns.stop]

    def write(self, columns: range, states: Tensor) -> None:
        """Replace some columns."""
        self.read(columns).copy_(states)


class FileGrid:
    """One sample of a file of states.

    The file is mapped anew for every access: pages of a lasting map would pile up in memory.

    Args:
        states: States, shape ``(B, C, W, H)``.
        sample: Which sample.
    """

    def __init__(self, states: np.memmap, sample: int) -> None:
        self.states, self.sample = states, sample

    def _map(self, mode: Any) -> np.memmap:
        whole = self.states
        path = Path(str(whole.filename))
        return np.memmap(path, whole.dtype, mode, whole.offset, whole.shape)

    def read(self, columns: range) -> Tensor:
        """Return a copy of some columns, shape ``(1, C, w, H)``."""
        place = slice(columns.start, columns.stop)
        return torch.from_numpy(np.array(self._map("r")[self.sample, :, place]))[None]

    def write(self, columns: range, states: Tensor) -> None:
        """Replace some columns in the file."""
        place = slice(columns.start, columns.stop)
        file = self._map("r+")
        file[self.sample, :, place] = states[0].cpu().numpy()
        file.flush()


Grid = TensorGrid | FileGrid


def grid_of(states: StateArray, sample: int) -> Grid:
    """Return one sample of the states, to be read and written column by column."""
    if isinstance(states, Tensor):
        return TensorGrid(states, sample)
    return FileGrid(states, sample)


def check_states(name: str, x: Any, channels: int, spatial_dims: int) -> None:
    """Raise unless ``x`` is a tensor, or a whole memory-mapped file, of states.

    Raises:
        TypeError: If it is neither, or not floating point.
        ValueError: If its shape is not ``(B, channels, *grid)``, or it is a view of a file.
    """
    if not isinstance(x, np.memmap):
        check_state(name, x, channels, spatial_dims)
        return
    if x.ndim != 2 + spatial_dims or 0 in x.shape or x.shape[1] != channels:
        axes = ", ".join(("B", str(channels), *AXIS_NAMES[:spatial_dims]))
        raise ValueError(f"{name} must have shape ({axes}), got {x.shape}")
    if x.dtype not in (np.float16, np.float32, np.float64):
        raise TypeError(f"{name} must be floating point, got {x.dtype}")
    if not isinstance(x.base, mmap.mmap) or not x.flags.c_contiguous:
        raise ValueError(
            f"{name} must be a whole memory-mapped array in C order, got a view of one"
        )


def check_out(out: Any, x: StateArray) -> None:
    """Raise unless results can be written to ``out`` in the place of ``x``.

    Raises:
        TypeError: If it is of another type than ``x``.
        ValueError: If it has another shape or dtype, or cannot be written to.
    """
    if type(out) is not type(x):
        raise TypeError(f"out must be a {type(x).__name__} as x is, got {type(out).__name__}")
    if out.shape != x.shape or out.dtype != x.dtype:
        want, got = (f"{tuple(a.shape)}, {a.dtype}" for a in (x, out))
        raise ValueError(f"out must have the shape and dtype of x ({want}), got {got}")
    if isinstance(out, np.memmap):
        check_states("out", out, x.shape[1], x.ndim - 2)
        if out.mode not in ("r+", "w+"):
            raise ValueError(f"out must be mapped with mode r+ or w+, got {out.mode}")
