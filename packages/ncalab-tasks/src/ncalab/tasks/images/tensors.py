"""Images of any dtype as the tensors that models take."""

import numpy as np
import torch
from torch import Tensor

Array = np.ndarray


def image_to_tensor(image: Array | Tensor) -> Tensor:
    """Bring an image into the shape and range that models take.

    Args:
        image: Array ``(W, H)`` or ``(W, H, C)``, or tensor ``(C, W, H)``. Values of uint8, uint16
            and bool are scaled to [0, 1]; floating-point values are taken as they are.

    Returns:
        Image, shape ``(C, W, H)``, float32.

    Raises:
        TypeError: If it is neither array nor tensor, or of another dtype.
        ValueError: If it has another number of axes.

    >>> image_to_tensor(np.full((2, 3), 51, np.uint8))[0, 0].tolist()
    [0.20000000298023224, 0.20000000298023224, 0.20000000298023224]
    """
    if isinstance(image, Tensor):
        # An array first: torch's unsigned 16-bit integers lack most operations.
        image = image.detach().cpu().numpy()
        image = np.moveaxis(image, 0, -1) if image.ndim == 3 else image
    if not isinstance(image, np.ndarray):
        raise TypeError(
            f"image must be an array (W, H, C) or a tensor (C, W, H), got {type(image).__name__}"
        )
    if image.ndim not in (2, 3):
        raise ValueError(f"image must have shape (W, H) or (W, H, C), got {image.shape}")
    channels_first = np.moveaxis(np.atleast_3d(image), -1, 0)
    return torch.from_numpy(np.ascontiguousarray(to_unit_range(channels_first)))


def to_unit_range(image: Array) -> Array:
    """Scale integers to [0, 1] by what their dtype can hold; take other values as they are.

    Args:
        image: Any shape; bool, uint8, uint16 or floating point.

    Returns:
        Array of the same shape, float32.

    Raises:
        TypeError: If it is of another dtype.

    >>> to_unit_range(np.array([0, 65535], np.uint16)).tolist()
    [0.0, 1.0]
    """
    if image.dtype == np.bool_:
        return image.astype(np.float32)
    if image.dtype in (np.uint8, np.uint16):
        return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)
    if np.issubdtype(image.dtype, np.floating):
        return image.astype(np.float32)
    raise TypeError(f"image must be uint8, uint16 or floating point, got {image.dtype}")
