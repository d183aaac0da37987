"""Labels of pixel-wise tasks: masks or class indices, brought into the shape of the logits."""

import torch
import torch.nn.functional as F
from torch import Tensor


def as_classes(x: Tensor, y: Tensor) -> Tensor | None:
    """Return class indices ``(B, *grid)`` if that is what ``y`` holds, None if it is a mask."""
    if x.ndim < 3 or x.shape[1] == 1 or y.shape == x.shape:
        return None
    if y.ndim == x.ndim and y.shape[1] == 1:
        y = y[:, 0]
    return y if y.shape == (x.shape[0], *x.shape[2:]) else None


def _as_mask(x: Tensor, y: Tensor) -> Tensor:
    """Return a mask in the shape of ``x``, which may lack or have a channel axis of one."""
    if y.shape == x.shape:
        return y
    if x.ndim >= 3 and x.shape[1] == 1 and y.shape == (x.shape[0], *x.shape[2:]):
        return y[:, None]
    if y.ndim >= 3 and y.shape[1] == 1 and x.shape == (y.shape[0], *y.shape[2:]):
        return y[:, 0]
    raise ValueError(
        "y must have the shape of x, or that of x without its channels for class indices, "
        f"got {tuple(y.shape)} for x {tuple(x.shape)}"
    )


def check_range(name: str, y: Tensor, top: int, ignore_index: int | None = None) -> None:
    """Raise unless all values that are not ignored are in [0, top]; waits for the device, once.

    Args:
        name: What to call them in the error.
        y: Labels.
        top: Largest valid one.
        ignore_index: Label that is also valid.

    Raises:
        ValueError: If there are others.

    >>> check_range("label", torch.tensor([0, 1, 3]), top=2, ignore_index=255)
    Traceback (most recent call last):
    ValueError: label must be in [0, 2] or ignore_index = 255, got 0 to 3
    """
    if y.numel() == 0:
        return
    seen = y if ignore_index is None else y.masked_fill(y == ignore_index, 0)
    low, high = torch.stack(seen.aminmax()).tolist()
    if not (low >= 0 and high <= top):
        besides = "" if ignore_index is None else f" or ignore_index = {ignore_index}"
        raise ValueError(f"{name} must be in [0, {top}]{besides}, got {low} to {high}")


def class_targets(
    x: Tensor, y: Tensor, ignore_index: int | None, *, validate_args: bool = True
) -> tuple[Tensor, Tensor]:
    """Bring labels into the shape of the logits.

    Args:
        x: Logits, as in :class:`DiceScore`.
        y: Labels, as in :class:`DiceScore`.
        ignore_index: Label of pixels that do not count, None if all do.
        validate_args: Whether to check that labels are in range.

    Returns:
        Targets in [0, 1], 0 where they do not count; and, bool, which of them do. Both have the
        shape of ``x``.

    Raises:
        TypeError: If class indices are not integers.
        ValueError: If shapes do not go together, or a label is out of range.

    >>> target, valid = class_targets(torch.zeros(1, 3, 1, 2), torch.tensor([[[2, 255]]]), 255)
    >>> target[0, :, 0].tolist(), valid[0, 0, 0].tolist()
    ([[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]], [True, False])
    """
    dtype = torch.promote_types(x.dtype, torch.float32) if x.is_floating_point() else torch.float32
    classes = as_classes(x, y)
    labels = _as_mask(x, y) if classes is None else classes
    if classes is not None and classes.is_floating_point():
        raise TypeError(f"y must hold integers where it holds class indices, got {y.dtype}")
    top = 1 if classes is None else x.shape[1] - 1
    if validate_args:
        check_range("y", labels, top, ignore_index)
    valid = torch.ones_like(labels, dtype=torch.bool)
    if ignore_index is not None:
        valid = labels != ignore_index
        labels = labels.masked_fill(~valid, 0)
    if classes is None:
        return labels.to(dtype), valid
    valid = valid[:, None].expand_as(x)
    one_hot = F.one_hot(labels.long(), x.shape[1]).movedim(-1, 1)
    return one_hot.to(dtype) * valid, valid
