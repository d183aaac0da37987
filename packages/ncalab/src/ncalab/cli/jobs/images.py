"""Pictures as the input of a model."""

from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.tasks.growing.data import premultiply
from ncalab.tasks.images import (
    MAX_PIXELS,
    image_suffixes,
    image_to_tensor,
    list_images,
    read_image,
    with_channels,
)
from ncalab.tasks.images.folders import why_no_images

ARRAY_SUFFIX = ".npy"

# From and to how many channels: what is said about it.
_CONVERSIONS = {
    (1, 3): "grey in all of red, green and blue",
    (1, 4): "grey, opaque",
    (3, 4): "opaque",
    (3, 1): "as grey",
    (4, 1): "as grey, and black where it is transparent",
    (4, 3): "black where it is transparent",
}


def find_images(paths: Iterable[Path]) -> list[Path]:
    """Return files, and in place of a folder the images in it, sorted by name.

    Raises:
        ValueError: If a folder holds no image.
    """
    suffixes = image_suffixes() | {ARRAY_SUFFIX}
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        inside = list_images(path, suffixes)
        if not inside:
            raise ValueError(
                f"IMAGES must hold at least one image, got the folder {path}{why_no_images(path)}"
            )
        found += inside
    return found


def read_input(
    model: AbstractNCAModel,
    path: Path,
    *,
    page: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> Tensor:
    """Read an image as a model takes it.

    A picture with other channels than the model's is converted where that has one meaning, and
    that is said on standard error.

    Args:
        model: The model.
        path: Picture, or .npy array ``(W, H)`` or ``(W, H, C)``, W downwards: an image, or a state
            with all of the model's channels.
        page: Page of a picture with several, from 0.
        max_pixels: Pixels that a picture may have at most; None for any number.

    Returns:
        Image or state, shape ``(C, W, H)``, float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or its channels are not those of the model.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        return _check_channels(model, path, image_to_tensor(_read_array(path)))
    pixels = read_image(path, page=page, max_pixels=max_pixels)
    image = image_to_tensor(_converted(pixels, model.num_image_channels, path))
    if model.task == "growing" and len(image) == 4:
        image = _channels_first(premultiply(_channels_last(image)))
    return image


def _read_array(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a plain .npy array: {error}") from None
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{path} must hold finite values, got others or none")
    return array


def _check_channels(model: AbstractNCAModel, path: Path, image: Tensor) -> Tensor:
    if len(image) not in (model.num_image_channels, model.num_channels):
        raise ValueError(
            f"{path} must have {model.num_image_channels} channels (an image) or "
            f"{model.num_channels} (a state) for this model, got {len(image)}"
        )
    return image


def _converted(pixels: np.ndarray, wanted: int, path: Path) -> np.ndarray:
    """Bring a picture to the channels of the model."""
    has = pixels.shape[2]
    if has == wanted:
        return pixels
    if (has, wanted) not in _CONVERSIONS:
        raise ValueError(f"{path} must have {wanted} channels for this model, got {has}")
    said = _CONVERSIONS[has, wanted]
    click.echo(f"{path}: has {has} channels, the model takes {wanted}; taken {said}", err=True)
    return with_channels(pixels, wanted)


def _channels_last(image: Tensor) -> np.ndarray:
    array: np.ndarray = image.permute(1, 2, 0).numpy()
    return array


def _channels_first(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
