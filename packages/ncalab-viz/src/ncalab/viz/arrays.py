"""Arrays of batches: where they come from, and what shapes they must have."""

from typing import Any

import numpy as np
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.automaton import Automaton

Array = np.ndarray


def to_numpy(values: Any) -> Array:
    """Return a tensor of any device and type, or anything else that numpy takes, as an array.

    >>> import torch
    >>> to_numpy(torch.ones(1, dtype=torch.bfloat16, requires_grad=True)).tolist()
    [1.0]
    """
    if isinstance(values, Tensor):
        values = values.detach().cpu()
        # numpy has no bfloat16.
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)


def check_images(model: AbstractNCAModel, image: Any, prediction: Prediction) -> Array:
    """Return the image channels of a batch.

    Args:
        model: Model that says how many they are.
        image: Images or states, shape ``(B, at least the image channels, W, H)``.
        prediction: Prediction of the same batch.

    Returns:
        Images, shape ``(B, image channels, W, H)``.

    Raises:
        ValueError: If the shape is another.
    """
    image, channels = to_numpy(image), model.num_image_channels
    batch, _, *grid = prediction.output_image.shape
    wanted = (batch, channels, *grid)
    if (
        image.ndim != 4
        or image.shape[1] < channels
        or (len(image), *image.shape[2:])
        != (
            batch,
            *grid,
        )
    ):
        raise ValueError(
            f"image must have shape (B, C, W, H) with the model's image channels, here {wanted}, "
            f"got {image.shape}"
        )
    return np.asarray(image[:, :channels])


def check_planar(name: str, model: Automaton) -> None:
    """Raise unless the grid of a model has two axes, as pictures have.

    Raises:
        ValueError: If it has one or three.
    """
    if model.spatial_dims != 2:
        raise ValueError(
            f"{name} must have a grid of two axes to be drawn, got spatial_dims = "
            f"{model.spatial_dims}; draw a layer of a volume with show_image_row"
        )


def layer_shown(
    model: AbstractNCAModel, image: Any, prediction: Prediction, label: Any
) -> tuple[Any, Prediction, Any]:
    """Return what is drawn of a batch: all of it, or the middle layer (along D) of volumes.

    Args:
        model: Model that made the prediction.
        image: Images or states.
        prediction: Prediction of the same batch.
        label: Labels; those for whole images stay as they are, as does None.

    Returns:
        The three, on a grid of two axes.

    Raises:
        ValueError: If the grid has one axis, or the shapes of image and prediction differ.
    """
    if model.spatial_dims != 3:
        check_planar("model", model)
        return image, prediction, label
    image, state = to_numpy(image), prediction.output_image
    label = None if label is None else to_numpy(label)
    if image.ndim != 5 or image.shape[2:] != state.shape[2:]:
        raise ValueError(
            f"image must have shape (B, C, W, H, D) with the grid {tuple(state.shape[2:])}, "
            f"got {image.shape}"
        )
    depth, p = state.shape[-1], prediction
    parts = (middle_layer(part, depth) for part in (state, p.logits, p.head_prediction))
    layer = type(p)(p.model, p.steps, *parts)
    return middle_layer(image, depth), layer, middle_layer(label, depth)


def middle_layer(values: Any, depth: int) -> Any:
    """Return the middle layer of what has a value for each cell of a volume, all else as it is.

    >>> middle_layer(np.arange(6).reshape(1, 1, 2, 3), 3).tolist(), middle_layer(None, 3)
    ([[[1, 4]]], None)
    """
    has_cells = values is not None and values.ndim > 3 and values.shape[-1] in (1, depth)
    return values[..., values.shape[-1] // 2] if has_cells else values


def check_planes(name: str, values: Any, shape: tuple[int, ...]) -> Array:
    """Return one value for each cell of a batch.

    Args:
        name: What to call them in the error.
        values: Shape ``(B, W, H)`` or ``(B, 1, W, H)``.
        shape: The expected ``(B, W, H)``.

    Returns:
        Values, shape ``(B, W, H)``.

    Raises:
        ValueError: If the shape is another.

    >>> check_planes("label", np.zeros((2, 1, 7, 19)), (2, 7, 19)).shape
    (2, 7, 19)
    """
    array = to_numpy(values)
    plane = array[:, 0] if array.ndim == 4 and array.shape[1] == 1 else array
    if plane.shape != shape:
        raise ValueError(
            f"{name} must have shape (B, W, H) or (B, 1, W, H), here {shape}, got {array.shape}"
        )
    return plane


def check_classes(label: Any, batch: int) -> Array:
    """Return one class for each sample of a batch.

    Raises:
        ValueError: If the shape is neither ``(B,)`` nor ``(B, 1)``.

    >>> check_classes(np.array([[3], [1]]), 2).tolist()
    [3, 1]
    """
    array = to_numpy(label)
    if array.shape not in ((batch,), (batch, 1)):
        raise ValueError(
            f"label must have shape (B,) or (B, 1), here ({batch},), got {array.shape}"
        )
    return array.reshape(batch).astype(int)


def displayed(images: Array) -> Array:
    """Return images in [0, 1]; those that leave the range are scaled, all by the same factor.

    Models are often trained on standardised images, which would show as black and white. Images
    of 4 channels have an opacity, whose scale means something: they stay as they are.

    Args:
        images: Shape ``(B, C, W, H)``.

    Returns:
        Images of the same shape, free of NaN.

    >>> displayed(np.array([-2.0, 0.0, 2.0]).reshape(1, 1, 1, 3)).ravel().tolist()
    [0.0, 0.5, 1.0]
    >>> displayed(np.full((1, 1, 1, 2), -7.0)).ravel().tolist()
    [0.0, 0.0]
    """
    images = np.nan_to_num(images, posinf=1.0, neginf=0.0)
    low, high = min(float(images.min()), 0.0), max(float(images.max()), 1.0)
    if images.shape[1] == 4 or (low, high) == (0.0, 1.0):
        return images
    low, high = float(images.min()), float(images.max())
    return (images - low) / (high - low) if high > low else np.clip(images, 0, 1)
