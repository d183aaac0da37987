"""Images of any dtype as the tensors that models take."""

import numpy as np
from torch import Tensor

from ncalab.core import Preparation

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
    return Preparation().apply(image)
