"""The part of an image that a camera sees, as data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


def read_vignette(vignette: Any) -> Tensor | None:
    """Check a vignette mask.

    Args:
        vignette: Mask, shape ``(W, H)``, bool or numbers 0 and 1, tensor or array; what
            :func:`encode_mask` made of one; or None.

    Returns:
        Mask, shape ``(W, H)``, bool; or None.

    Raises:
        TypeError: If it is nothing of that kind.
        ValueError: If it has another shape or other values, or shows nothing.

    >>> read_vignette(np.array([[0, 1, 0]])).tolist()
    [[False, True, False]]
    """
    if vignette is None:
        return None
    if isinstance(vignette, Mapping):
        return decode_mask(vignette)
    if not isinstance(vignette, Tensor | np.ndarray):
        raise TypeError(f"vignette must be a tensor, an array or None, got {vignette!r:.80}")
    mask = torch.as_tensor(vignette)
    if mask.ndim != 2:
        raise ValueError(f"vignette must have shape (W, H), got {tuple(mask.shape)}")
    if not ((mask == 0) | (mask == 1)).all():
        raise ValueError("vignette must be true (1) where the camera sees and false (0) elsewhere")
    if not mask.any():
        raise ValueError("vignette must be true somewhere, got false everywhere")
    return mask.bool()


def encode_mask(mask: Tensor) -> dict[str, list[int]]:
    """Describe a mask as data that JSON can hold: the lengths of its runs, row by row.

    Args:
        mask: Shape ``(W, H)``, bool.

    Returns:
        "size", [W, H], and "runs", the lengths of the runs, the first one of False (maybe 0).

    >>> encode_mask(torch.tensor([[True, True, False], [False, True, True]]))
    {'size': [2, 3], 'runs': [0, 2, 2, 2]}
    """
    flat = mask.flatten().cpu()
    values, lengths = torch.unique_consecutive(flat, return_counts=True)
    first = [0] if values[0] else []
    return {"size": list(mask.shape), "runs": first + lengths.tolist()}


def decode_mask(description: Mapping[str, Any]) -> Tensor:
    """Return the mask that :func:`encode_mask` described.

    Raises:
        ValueError: If it is not such a description.

    >>> decode_mask({"size": [2, 3], "runs": [0, 2, 2, 2]}).tolist()
    [[True, True, False], [False, True, True]]
    """
    try:
        width, height = description["size"]
        runs = torch.tensor(description["runs"], dtype=torch.int64)
        values = torch.arange(len(runs)) % 2 == 1
        return values.repeat_interleave(runs).reshape(width, height)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"vignette must be described by size and runs, got {description!r:.80}"
        ) from error
