"""Helpers around a model: devices, seeds, padding, ranges and default folders."""

import logging
import math
import os
import random
from numbers import Integral
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.checks import (
    check_batch,
    check_flag,
    check_int,
    check_model,
    check_non_negative,
    check_number,
    check_timesteps,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

DEFAULT_RANDOM_SEED = 1337
"""Seed of :func:`fix_random_seed` unless told otherwise."""

ROOT_PATH = Path(os.environ.get("NCALAB_ROOT", Path.cwd()))
"""Project folder: the environment variable NCALAB_ROOT, else the working directory at import."""

WEIGHTS_PATH = ROOT_PATH / "weights"
"""Default folder of trained weights; created by whoever first writes to it."""

TASK_PATH = ROOT_PATH / "tasks"
"""Default folder of task scripts; created by whoever first writes to it."""


def get_compute_device(device: str = "cuda:0") -> torch.device:
    """Return a torch device, the CPU where the wanted kind of accelerator is missing.

    Args:
        device: "cpu", "cuda", "cuda:<index>", "mps" or "auto" (the best there is).

    Returns:
        The device. If neither CUDA nor MPS is available, the CPU, with a line in the log.

    Raises:
        TypeError: If it is not a name.
        ValueError: If the name is unknown or no device has that index.

    >>> get_compute_device("cpu")
    device(type='cpu')
    """
    if not isinstance(device, str | torch.device):
        raise TypeError(f"device must be the name of one, got {device!r:.80}")
    if device == "auto":
        return torch.device(_best_device_type())
    try:
        wanted = torch.device(device)
    except RuntimeError as error:
        raise ValueError(_unknown_device(device)) from error
    if wanted.type not in ("cpu", "cuda", "mps"):
        raise ValueError(_unknown_device(device))
    if wanted.type != "cpu" and not _is_available(wanted.type):
        logger.warning("%s is not available, falling back to the CPU", device)
        return torch.device("cpu")
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device must be one of {torch.cuda.device_count()} CUDA devices, got {device!r}"
        )
    return wanted


def _unknown_device(device: str) -> str:
    return f"device must be cpu, cuda, cuda:<index>, mps or auto, got {device!r}"


def _is_available(kind: str) -> bool:
    return torch.cuda.is_available() if kind == "cuda" else torch.backends.mps.is_available()


def _best_device_type() -> str:
    return next((kind for kind in ("cuda", "mps") if _is_available(kind)), "cpu")


def pad_input(
    x: Tensor,
    nca: Automaton,
    noise: bool = True,
    mean: float = 0.5,
    std: float = 0.225,
    *,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Append the hidden and output channels that an image lacks to be a state of the model.

    Args:
        x: Image, shape ``(B, image channels, W, H)``, floating point; or a state with all
            channels, which is returned as it is.
        nca: Model that defines the channels.
        noise: Whether the appended channels are Gaussian noise; zeros otherwise.
        mean: Mean of the noise.
        std: Standard deviation of the noise.
        generator: CPU generator of the noise, torch's default one if None. Noise is always drawn
            on the CPU in float32, so it is the same on every device.

    Returns:
        State, shape ``(B, C, W, H)``, with dtype and device of ``x``.

    Raises:
        TypeError: If ``x`` is not a floating-point tensor, or another argument of another type.
        ValueError: If ``x`` is not 4-D or has any other number of channels, or the noise is not
            finite.
    """
    check_model("nca", nca)
    check_batch("x", x, nca.spatial_dims)
    check_flag("noise", noise)
    check_non_negative("std", std)
    if not math.isfinite(check_number("mean", mean)):
        raise ValueError(f"mean must be finite, got {mean}")
    batch, channels, *grid = x.shape
    if channels == nca.num_channels:
        return x
    if channels != nca.num_image_channels:
        raise ValueError(
            f"x must have {nca.num_image_channels} channels (an image) or {nca.num_channels} "
            f"(a state) for this model, got {channels}"
        )
    appended = torch.zeros(batch, nca.num_channels - channels, *grid)
    if noise:
        appended.normal_(mean, std, generator=generator)
    return torch.cat([x, appended.to(x)], dim=1)


def fix_random_seed(seed: int = DEFAULT_RANDOM_SEED) -> None:
    """Seed the generators of Python, numpy and torch (all devices).

    Args:
        seed: Seed, in ``[0, 2**32)``.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If numpy cannot take the seed.

    >>> fix_random_seed(3)
    >>> torch.rand(1).item() == torch.rand(1, generator=torch.Generator().manual_seed(3)).item()
    True
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral):
        raise TypeError(f"seed must be an integer, got {seed!r:.80}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    seed = int(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the global generator is what users of it need seeded
    torch.manual_seed(seed)


def unwrap(x: T | None) -> T:
    """Return ``x``, which the caller knows not to be None.

    Raises:
        RuntimeError: If ``x`` is None.

    >>> unwrap(5)
    5
    """
    if x is None:
        raise RuntimeError("x must not be None")
    return x


def interpret_range_parameter(
    x: int | tuple[int, int], *, generator: torch.Generator | None = None
) -> int:
    """Return a number of steps: ``x`` itself, or a draw from the range ``[min, max)``.

    Args:
        x: Number of steps, at least 1, or a pair (min, max) of them.
        generator: CPU generator of the draw, torch's default one if None.

    Raises:
        TypeError: If ``x`` is neither an integer nor a pair of integers.
        ValueError: If a number of steps is below 1 or the range is empty.

    >>> interpret_range_parameter((5, 6))
    5
    """
    if not isinstance(x, tuple):
        return _check_steps(x)
    low, high = _range_bounds(x)
    return int(torch.randint(low, high, (), generator=generator))


def _check_steps(x: Any) -> int:
    if isinstance(x, list):
        raise TypeError(f"steps must be an integer or a tuple (min, max), got {x!r}")
    return check_int("steps", x, minimum=1)


def _range_bounds(x: tuple[int, int]) -> tuple[int, int]:
    bounds = check_timesteps("steps", x)
    return bounds if isinstance(bounds, tuple) else (bounds, bounds + 1)


def intepret_range_parameter(x: int | tuple[int, int]) -> int:
    """Return :func:`interpret_range_parameter` of ``x``: the name in its documented spelling."""
    return interpret_range_parameter(x)
