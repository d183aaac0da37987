"""Images as they are given, and as a model takes them."""

from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
from torch import Tensor

from ncalab.cli.jobs.images import ARRAY_SUFFIX
from ncalab.core import AbstractNCAModel, Preparation
from ncalab.core.task import spec_of
from ncalab.tasks.images import MAX_PIXELS, read_image, with_channels

Array = np.ndarray

# From and to how many channels: what is said about it.
_CONVERSIONS = {
    (1, 3): "grey in all of red, green and blue",
    (1, 4): "grey, opaque",
    (3, 4): "opaque",
    (3, 1): "as grey",
    (4, 1): "as grey, and black where it is transparent",
    (4, 3): "black where it is transparent",
}


@dataclass(frozen=True)
class Given:
    """An image, prepared for a model; or a state.

    Attributes:
        image: What the model takes, shape ``(C, W, H)``.
        original: The image before it was prepared, shape ``(W, H, C)``; None of a state.
    """

    image: Tensor
    original: Array | None = None

    @property
    def size(self) -> tuple[int, int]:
        """W and H of the image before it was prepared, which results are brought to."""
        shape = self.image.shape[1:] if self.original is None else self.original.shape
        return shape[0], shape[1]

    def picture(self, channels: int) -> Array:
        """Return what to show of it, whatever the model sees: in its own size, well exposed.

        Args:
            channels: Number of image channels of the model.

        Returns:
            Image, shape ``(channels, W, H)``, integers in [0, 1].
        """
        if self.original is None:
            return np.asarray(self.image[:channels].cpu())
        shown = Preparation(channels=channels, normalize="auto").apply(self.original).numpy()
        return shown.clip(0, 1) if self.original.dtype.kind in "ub" else shown


def preparation_of(model: AbstractNCAModel) -> Preparation:
    """Return the preparation of a model; for one without, that of its task."""
    if model.preparation is not None:
        return model.preparation
    premultiply = spec_of(model).premultiplied and model.num_image_channels == 4
    return Preparation(channels=model.num_image_channels, premultiply=premultiply)


def say_preparation(model: AbstractNCAModel, weights: Path) -> None:
    """Say on standard error what of the preparation of images is not known, or not repeated."""
    preparation = model.preparation
    if preparation is None:
        click.echo(
            f"{weights}: does not say how its training prepared images; they are taken as they "
            "are, in their own size, integers scaled to [0, 1] by their type",
            err=True,
        )
    elif preparation.transform is not None:
        click.echo(
            f"{weights}: its training also had the transform {preparation.transform}, "
            "which is not repeated",
            err=True,
        )


def read_given(
    model: AbstractNCAModel,
    path: Path,
    *,
    page: int | None = None,
    max_pixels: int | None = MAX_PIXELS,
) -> Given:
    """Read an image, and do to it what the model's training did to its images.

    A picture with other channels than the model's is converted where that has one meaning, and
    that is said on standard error.

    Args:
        model: The model.
        path: Picture, or .npy array ``(W, H)`` or ``(W, H, C)``, W downwards: an image, or a state
            with all of the model's channels, which is taken as it is.
        page: Page of a picture with several, from 0.
        max_pixels: Pixels that a picture may have at most; None for any number.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it cannot be read, or its channels are not those of the model.
    """
    preparation = preparation_of(model)
    if path.suffix.lower() == ARRAY_SUFFIX:
        array = _checked(model, path, _read_array(path))
        if array.shape[2] != model.num_image_channels:
            return Given(Preparation().apply(array))
        return Given(preparation.apply(array), array)
    pixels = read_image(path, page=page, max_pixels=max_pixels)
    converted = _converted(pixels, model.num_image_channels, path)
    return Given(preparation.apply(converted), converted)


def _read_array(path: Path) -> Array:
    try:
        array: Array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} must be a plain .npy array: {error}") from None
    if array.size == 0 or not np.isfinite(array).all():
        raise ValueError(f"{path} must hold finite values, got others or none")
    return array


def _checked(model: AbstractNCAModel, path: Path, array: Array) -> Array:
    """Return an array with channels, those of an image or of a state."""
    if array.ndim not in (2, 3):
        raise ValueError(f"{path} must have shape (W, H) or (W, H, C), got {array.shape}")
    array = np.atleast_3d(array)
    if array.shape[2] not in (model.num_image_channels, model.num_channels):
        raise ValueError(
            f"{path} must have {model.num_image_channels} channels (an image) or "
            f"{model.num_channels} (a state) for this model, got {array.shape[2]}"
        )
    return array


def _converted(pixels: Array, wanted: int, path: Path) -> Array:
    """Bring a picture to the channels of the model."""
    has = pixels.shape[2]
    if has == wanted:
        return pixels
    if (has, wanted) not in _CONVERSIONS:
        raise ValueError(f"{path} must have {wanted} channels for this model, got {has}")
    said = _CONVERSIONS[has, wanted]
    click.echo(f"{path}: has {has} channels, the model takes {wanted}; taken {said}", err=True)
    return with_channels(pixels, wanted)
