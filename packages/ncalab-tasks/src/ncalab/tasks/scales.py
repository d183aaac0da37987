"""Sizes of the cells of a cascade, from coarse to fine, and the number of steps at each."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

from ncalab.core.checks import check_positive_integers, check_timesteps
from ncalab.core.multiscale.grids import share_steps

_COARSEST = 8
# Steps from the coarsest of so many scales to the finest, which costs the most by far.
_STEPS = {2: (12, 6), 3: (12, 6, 4), 4: (12, 8, 6, 4)}
# Of a single scale: as many as cells from side to side, between these.
_FEWEST_STEPS, _MOST_STEPS = 4, 16

TIMESTEPS = ("training_timesteps", "inference_timesteps")
"""Arguments of a model that are numbers of steps; of a cascade, over all scales."""


def choose_scales(fewest_cells: int, size: Sequence[int]) -> tuple[int, ...]:
    """Choose sizes of cells for images of a size.

    Args:
        fewest_cells: Number of cells along the shorter side at the coarsest scale, at least.
        size: W and H of the images.

    >>> choose_scales(6, (28, 28)), choose_scales(12, (12, 40))
    ((4, 2, 1), (1,))
    """
    largest = min(_COARSEST, max(1, min(size) // fewest_cells))
    return tuple(2**power for power in range(int(math.log2(largest)), -1, -1))


def choose_steps(size: Sequence[int] | None, scales: Sequence[int]) -> tuple[int, ...]:
    """Choose the number of steps at each scale for images of a size; None for large ones.

    >>> choose_steps((28, 28), (4, 2, 1)), choose_steps((8, 9), (1,))
    ((12, 6, 4), (8,))
    """
    if len(scales) <= 1:
        return (max(_FEWEST_STEPS, min([_MOST_STEPS, *(size or [])])),) * len(scales)
    known = _STEPS[min(len(scales), max(_STEPS))]
    return (*known, *[known[-1]] * (len(scales) - len(known)))


def check_scales(scales: Any, size: Sequence[int] | None = None) -> tuple[int, ...]:
    """Return scales that go from coarse to fine.

    Args:
        scales: Sizes of a cell in pixels.
        size: W and H of the images that they are for; None for any.

    Raises:
        TypeError: If they are not a list of integers.
        ValueError: If there are none, one is below 1 or larger than the images, or they do not
            fall.

    >>> check_scales([4, 2, 1], (28, 28))
    (4, 2, 1)
    """
    if not isinstance(scales, Sequence) or isinstance(scales, str | bytes):
        raise TypeError(f"scales must be a list of sizes of cells, got {scales!r:.80}")
    if not scales:
        raise ValueError("scales must hold at least one size of cells, got none")
    checked = check_positive_integers("scales", scales)
    if any(fine >= coarse for coarse, fine in itertools.pairwise(checked)):
        raise ValueError(f"scales must fall from coarse to fine, such as [4, 2, 1], got {checked}")
    if size is not None and checked[0] > min(size):
        raise ValueError(
            f"scales must be at most the shorter side of the images, {min(size)}, got {checked}"
        )
    return tuple(checked)


def check_steps(steps: Any, scales: Sequence[int]) -> tuple[int, ...]:
    """Return steps, one number for each of the scales.

    Raises:
        TypeError: If they are not a list of integers.
        ValueError: If one is below 1, or there are not as many as scales.
    """
    checked = check_positive_integers("steps", steps)
    if len(checked) != len(scales):
        raise ValueError(
            f"steps must hold one number for each of the scales {list(scales)}, got {checked}"
        )
    return tuple(checked)


def share_timesteps(
    timesteps: Mapping[str, Any], scales: tuple[int, ...], *, can_drop: bool
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Share steps out among scales, a step for each at least.

    Args:
        timesteps: Numbers of steps over all scales, or ranges without their end; by name. That of
            inference counts before that of training, and of a range the largest number.
        scales: Scales from coarse to fine.
        can_drop: Whether scales that would get no step are left out, the coarse ones first.

    Returns:
        The scales that are left, and the number of steps at each.

    Raises:
        TypeError: If a number is of another type.
        ValueError: If one is out of range, or below the number of scales that must stay.

    >>> share_timesteps({"inference_timesteps": 9}, (4, 2, 1), can_drop=True)
    ((4, 2, 1), (5, 2, 2))
    """
    most = 1
    for name, value in timesteps.items():
        checked = check_timesteps(name, value)
        fewest, most = (
            (checked, checked) if isinstance(checked, int) else (checked[0], checked[1] - 1)
        )
        if can_drop:
            scales = scales[-fewest:]
        elif fewest < len(scales):
            raise ValueError(
                f"{name} must be at least {len(scales)}, one for each of the scales "
                f"{list(scales)}, got {value}"
            )
    return scales, tuple(share_steps(most, choose_steps(None, scales)))


def describe_scales(scales: Sequence[int], steps: Sequence[int], why: str) -> str:
    """Describe scales and steps in a sentence.

    >>> describe_scales((2, 1), (12, 6), "as asked for")
    'cells of 2, 1 pixels in turn, 12, 6 steps: as asked for'
    """
    if len(scales) == 1:
        return f"one scale, {steps[0]} steps: {why}"
    cells, numbers = (", ".join(map(str, each)) for each in (scales, steps))
    return f"cells of {cells} pixels in turn, {numbers} steps: {why}"
