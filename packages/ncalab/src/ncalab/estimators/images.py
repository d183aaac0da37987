"""Arrays as scikit-learn has them, channels last or flat, to images as cells have them."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]
"""Images, shape ``(N, C, W, H)``, float32."""


def grid_of_features(features: int) -> tuple[int, int]:
    """Return the grid of a sample given as that many numbers.

    A square number of them is a square image, any other a line of cells.

    >>> grid_of_features(64), grid_of_features(30)
    ((8, 8), (30, 1))
    """
    side = math.isqrt(features)
    return (side, side) if side * side == features else (features, 1)


def check_image_shape(image_shape: Sequence[int] | None) -> tuple[int, int, int] | None:
    """Return ``image_shape`` as (W, H, channels).

    Raises:
        ValueError: If it is neither None nor two or three sizes of at least 1.
    """
    if image_shape is None:
        return None
    sizes = tuple(image_shape)
    if len(sizes) not in (2, 3) or not all(isinstance(n, int | np.integer) for n in sizes):
        raise ValueError(f"image_shape must be (W, H) or (W, H, channels), got {image_shape!r}")
    if min(sizes) < 1:
        raise ValueError(f"image_shape must be sizes of at least 1, got {image_shape!r}")
    width, height, *rest = map(int, sizes)
    return width, height, rest[0] if rest else 1


def as_images(X: NDArray[np.floating], image_shape: Sequence[int] | None) -> Images:  # noqa: N803
    """Arrange samples as images.

    Args:
        X: Samples: images ``(N, W, H)`` or ``(N, W, H, C)``, or rows ``(N, features)``.
        image_shape: (W, H) or (W, H, C) of a row; None for :func:`grid_of_features`. Images of
            three or four axes need none.

    Returns:
        Images, shape ``(N, C, W, H)``, a float32 copy.

    Raises:
        ValueError: If X has another number of axes, or rows do not have the image's size.

    >>> as_images(np.arange(12.0).reshape(2, 6), (2, 3))[1, 0].tolist()
    [[6.0, 7.0, 8.0], [9.0, 10.0, 11.0]]
    """
    shape = check_image_shape(image_shape)
    if X.ndim == 2:
        shape = shape or (*grid_of_features(X.shape[1]), 1)
        if math.prod(shape) != X.shape[1]:
            raise ValueError(
                f"image_shape must have as many values as a row of X, {X.shape[1]}, got {shape}"
            )
        X = X.reshape(len(X), *shape)  # noqa: N806 - scikit-learn's name
    elif X.ndim == 3:
        X = X[..., None]  # noqa: N806
    elif X.ndim != 4:
        raise ValueError(f"X must be (N, W, H), (N, W, H, C) or (N, features), got shape {X.shape}")
    return np.array(X.transpose(0, 3, 1, 2), dtype=np.float32, order="C")
