"""Pictures as the input of a model."""

from collections.abc import Iterable
from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.tasks.growing.data import premultiply
from ncalab.tasks.images import image_suffixes, image_to_tensor, read_image

# Of red, green and blue in grey: ITU-R BT.601, as Pillow converts.
_LUMA = (0.299, 0.587, 0.114)
ARRAY_SUFFIX = ".npy"


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
        inside = sorted(
            file
            for file in path.iterdir()
            if file.suffix.lower() in suffixes and not file.name.startswith(".")
        )
        if not inside:
            raise ValueError(f"IMAGES must hold at least one image, got the folder {path}")
        found += inside
    return found


def read_input(model: AbstractNCAModel, path: Path) -> Tensor:
    """Read an image as a model takes it.

    A picture with other channels than the model's is converted where that has one meaning, and
    that is said on standard error.

    Args:
        model: The model.
        path: Picture, or .npy array ``(W, H)`` or ``(W, H, C)``, W downwards: an image, or a state
            with all of the model's channels.

    Returns:
        Image or state, shape ``(C, W, H)``, float32.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or its channels are not those of the model.
    """
    if path.suffix.lower() == ARRAY_SUFFIX:
        return _check_channels(model, path, image_to_tensor(_read_array(path)))
    image = image_to_tensor(read_image(path))
    wanted = model.num_image_channels
    if model.task == "growing" and len(image) == 4:
        image = _channels_first(premultiply(_channels_last(image)))
    if len(image) != wanted:
        image = _converted(model, path, image)
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


def _converted(model: AbstractNCAModel, path: Path, image: Tensor) -> Tensor:
    """Bring a picture to the channels of the model."""
    has, wanted = len(image), model.num_image_channels
    if has in (1, 3) and wanted == 4 and model.task == "growing":
        result, said = torch.cat([image.expand(3, -1, -1), torch.ones_like(image[:1])]), "opaque"
    elif has == 1 and wanted == 3:
        result, said = image.expand(3, -1, -1).clone(), "grey in all of red, green and blue"
    elif has in (3, 4) and wanted == 1:
        weights = torch.tensor(_LUMA)[:, None, None]
        result, said = (weights * image[:3]).sum(dim=0, keepdim=True), "as grey"
    elif has == 4 and wanted == 3:
        result, said = image[:3].clone(), "without its opacity"
    else:
        raise ValueError(f"{path} must have {wanted} channels for this model, got {has}")
    click.echo(f"{path}: has {has} channels, the model takes {wanted}; taken {said}", err=True)
    return result


def _channels_last(image: Tensor) -> np.ndarray:
    array: np.ndarray = image.permute(1, 2, 0).numpy()
    return array


def _channels_first(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))
