"""Checks of arguments at the public edge: each names the argument, the rule and the value."""

import inspect
import math
from collections.abc import Collection, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

MOST_WEIGHTS = 2**28
"""Weights of a layer beyond which a size is taken for a slip, before it takes all memory."""


def check_weights_of_layer(names: str, weights: int) -> None:
    """Raise a ValueError if sizes ask for so many weights in a layer that they must be a slip.

    >>> check_weights_of_layer("goal_size", 10**12)
    Traceback (most recent call last):
    ValueError: goal_size must need at most 268435456 weights in a layer, got 1000000000000
    """
    if weights > MOST_WEIGHTS:
        raise ValueError(
            f"{names} must need at most {MOST_WEIGHTS} weights in a layer, got {weights}"
        )


def check_int(name: str, value: Any, *, minimum: int) -> int:
    """Return ``value`` as an int of at least ``minimum`` that 64 bits hold.

    Raises:
        TypeError: If it is not an integer.
        ValueError: If it is too small or too large.

    >>> check_int("hidden_size", 0, minimum=1)
    Traceback (most recent call last):
    ValueError: hidden_size must be at least 1, got 0
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    number = int(value)
    if number < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {value}")
    if number >= 2**63:
        raise ValueError(f"{name} must be below 2**63, got {value}")
    return number


def check_positive_integers(name: str, values: Any) -> list[int]:
    """Return a list of integers of at least 1, at least one of them.

    Raises:
        TypeError: If it is not a sequence of integers.
        ValueError: If it is empty, or an integer is below 1.

    >>> check_positive_integers("scales", (4, 2, 1))
    [4, 2, 1]
    """
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{name} must be a list of integers, got {values!r}")
    if not values:
        raise ValueError(f"{name} must hold at least one number, got {values!r}")
    return [check_int(f"{name}[{place}]", value, minimum=1) for place, value in enumerate(values)]


def read_attribute(owner: Any, name: str) -> Any:
    """Return an attribute of a part of a model.

    Raises:
        TypeError: If there is none, or what computes it asks for an attribute that there is not,
            which modules of torch would report as the former.

    >>> read_attribute(torch.nn.Identity(), "filters")
    Traceback (most recent call last):
    TypeError: Identity must have filters, got none ('Identity' object has no attribute 'filters')
    """
    try:
        return getattr(owner, name)
    except AttributeError as error:
        reason = error
        computed = inspect.getattr_static(type(owner), name, None)
        if isinstance(computed, property) and computed.fget is not None:
            try:
                computed.fget(owner)
            except AttributeError as hidden:
                reason = hidden
        raise TypeError(f"{type(owner).__name__} must have {name}, got none ({reason})") from reason


def check_flag(name: str, value: Any) -> bool:
    """Return ``value`` as a bool, unless it is something that only counts as one.

    A string counts as True, whatever it says.

    Raises:
        TypeError: If it is neither True nor False.

    >>> check_flag("progress", "no")
    Traceback (most recent call last):
    TypeError: progress must be True or False, got 'no'
    """
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def check_choice(name: str, value: Any, choices: Collection[str]) -> None:
    """Raise a ValueError unless ``value`` is one of ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r:.80}")


def check_number(name: str, value: Any) -> float:
    """Return ``value``, unless it is something else than a real number.

    Raises:
        TypeError: If it is not a number; True and False are none.

    >>> check_number("fire_rate", "0.5")
    Traceback (most recent call last):
    TypeError: fire_rate must be a number, got '0.5'
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, got {value!r:.80}")
    return float(value)


def check_fraction(name: str, value: Any) -> None:
    """Raise unless ``value`` is a number in [0, 1] (so NaN is refused, too).

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is out of the range.
    """
    if not 0 <= check_number(name, value) <= 1:
        raise ValueError(f"{name} must be in [0, 1], got {value}")


def check_non_negative(name: str, value: Any) -> None:
    """Raise unless ``value`` is a finite number of at least 0 (so NaN is refused, too).

    Raises:
        TypeError: If it is not a number.
        ValueError: If it is negative, infinite or NaN.
    """
    if not 0 <= check_number(name, value) < math.inf:
        raise ValueError(f"{name} must be at least 0 and finite, got {value}")


def check_type(name: str, value: Any, kind: type, *, optional: bool = False) -> None:
    """Raise a TypeError unless ``value`` is of a type; or None, if it is optional.

    >>> check_type("validation_metric", 3, str, optional=True)
    Traceback (most recent call last):
    TypeError: validation_metric must be a str or None, got int
    """
    if isinstance(value, kind) or (optional and value is None):
        return
    article = "an" if kind.__name__[0] in "AEIOaeio" else "a"
    wanted = f"{article} {kind.__name__}{' or None' if optional else ''}"
    raise TypeError(f"{name} must be {wanted}, got {type(value).__name__}")


def check_function(name: str, value: Any) -> None:
    """Raise a TypeError unless ``value`` can be called."""
    if not callable(value):
        raise TypeError(f"{name} must be a function, got {type(value).__name__}")


def check_model(name: str, value: Any) -> None:
    """Raise a TypeError unless ``value`` is a model, by what a model has.

    >>> check_model("nca", 3)
    Traceback (most recent call last):
    TypeError: nca must be an AbstractNCAModel, got int
    """
    if isinstance(value, type) or not hasattr(value, "num_image_channels"):
        raise TypeError(f"{name} must be an AbstractNCAModel, got {type(value).__name__}")


def check_device(name: str, value: Any) -> torch.device:
    """Return a device, given as one, by its name or by the number of an accelerator.

    Raises:
        TypeError: If it is of another type.
        ValueError: If torch knows no device of that name.

    >>> check_device("device", "gpu")
    Traceback (most recent call last):
    ValueError: device must be one that torch knows, got 'gpu'
    """
    if isinstance(value, bool) or not isinstance(value, torch.device | str | int):
        raise TypeError(f"{name} must be a torch.device, got {type(value).__name__}")
    try:
        return torch.device(value)
    except (RuntimeError, ValueError, OverflowError, TypeError) as error:
        raise ValueError(f"{name} must be one that torch knows, got {value!r:.80}") from error


def check_timesteps(name: str, value: Any) -> int | tuple[int, int]:
    """Return a number of steps, or a range ``(min, max)`` whose end is not included.

    Raises:
        TypeError: If it is neither an integer nor a pair of integers.
        ValueError: If a number of steps is below 1 or the range is empty.

    >>> check_timesteps("training_timesteps", [64, 96])
    (64, 96)
    """
    if not isinstance(value, tuple | list):
        return check_int(name, value, minimum=1)
    if len(value) != 2:
        raise TypeError(f"{name} must be an integer or a pair (min, max), got {value!r}")
    low, high = (check_int(name, bound, minimum=1) for bound in value)
    if low >= high:
        raise ValueError(f"{name} must be a pair (min, max) with min < max, got ({low}, {high})")
    return low, high


AXIS_NAMES = ("W", "H", "D")


def check_batch(name: str, x: Any, spatial_dims: int = 2) -> None:
    """Raise unless ``x`` is a floating-point tensor of shape ``(B, C, *grid)`` with cells.

    Raises:
        TypeError: If it is not a tensor, or not floating point.
        ValueError: If it has other axes than batch, channels and those of the grid, or one of
            them is empty.
    """
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} must be a tensor, got {type(x).__name__}")
    if x.ndim != 2 + spatial_dims or 0 in x.shape:
        axes = ", ".join(("B", "C", *AXIS_NAMES[:spatial_dims]))
        raise ValueError(f"{name} must have shape ({axes}), none of them 0, got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"{name} must be floating point, got {x.dtype}; convert with x.float()")


def check_grids(name: str, x: Any) -> None:
    """Raise unless ``x`` is a batch, as :func:`check_batch` describes it, of any number of axes."""
    dims = x.ndim - 2 if isinstance(x, Tensor) and 3 <= x.ndim <= 5 else 2
    check_batch(name, x, dims)


def check_state(name: str, x: Any, channels: int, spatial_dims: int = 2) -> None:
    """Raise unless ``x`` is a batch of states with ``channels`` channels."""
    check_batch(name, x, spatial_dims)
    if x.shape[1] != channels:
        raise ValueError(
            f"{name} must have {channels} channels (image, hidden and output), "
            f"got {x.shape[1]}; pad an image with pad_input first"
        )


def check_samples(samples: Sequence[int] | None, batch: int) -> Sequence[int]:
    """Return the index of each sample of a batch, ``0 ... B - 1`` if None.

    Raises:
        TypeError: If they are not a sequence of integers.
        ValueError: If they are not ``batch`` indices of at least 0.
    """
    if samples is None:
        return range(batch)
    if not isinstance(samples, Sequence | np.ndarray | Tensor) or isinstance(samples, str | bytes):
        raise TypeError(f"samples must be a sequence of indices, got {type(samples).__name__}")
    listed = list(samples.tolist() if isinstance(samples, np.ndarray | Tensor) else samples)
    if len(listed) != batch:
        raise ValueError(f"samples must be {batch} indices of at least 0, got {listed}")
    return tuple(check_int("samples", index, minimum=0) for index in listed)


def check_size(name: str, size: Any) -> tuple[int, int] | None:
    """Return a width and a height, or None.

    Raises:
        TypeError: If it is neither.
        ValueError: If one is below 1.

    >>> check_size("resize", [24, 32])
    (24, 32)
    """
    if size is None:
        return None
    if not isinstance(size, tuple | list) or len(size) != 2:
        raise TypeError(f"{name} must be a pair (W, H) or None, got {size!r}")
    width, height = (check_int(f"{name}[{i}]", length, minimum=1) for i, length in enumerate(size))
    return width, height


def check_numbers(name: str, values: Any) -> tuple[float, ...] | None:
    """Return finite numbers, at least one, or None.

    Raises:
        TypeError: If they are neither.
        ValueError: If there is none, or one is not finite.

    >>> check_numbers("mean", [1, 2.5])
    (1.0, 2.5)
    """
    if values is None:
        return None
    listed = values.tolist() if isinstance(values, np.ndarray) else values
    if not isinstance(listed, tuple | list) or not all(isinstance(v, int | float) for v in listed):
        raise TypeError(f"{name} must be a list of numbers or None, got {values!r}")
    numbers = tuple(map(float, listed))
    if not numbers or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{name} must hold finite numbers, got {values!r}")
    return numbers
