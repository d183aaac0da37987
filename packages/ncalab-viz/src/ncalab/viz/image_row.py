"""Images side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from ncalab.viz.images import normalized, to_whc

Array = np.ndarray
_OVERLAY_OPACITY = 0.5


def show_image_row(
    ax: Axes | Sequence[Axes] | Array,
    images: Sequence[Array] | Array,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: Any = None,
    overlays: Sequence[Array] | Array | None = None,
    overlay_vmin: float | None = None,
    overlay_vmax: float | None = None,
    overlay_cmap: Any = None,
    label: str = "",
    colorbar: bool = False,
    x_index: bool = False,
    normalize: bool = False,
) -> None:
    """Show images next to each other. Inputs are not changed.

    Args:
        ax: One axes for the whole row, or one axes for each image.
        images: Images, at least one, each ``(W, H)``, ``(W, H, C)`` or ``(C, W, H)`` with C = 1,
            3 or 4 channels; channels are taken to come last if both would fit.
        vmin: Value of the lower end of the colormap (one channel), or of black.
        vmax: Value of the upper end of the colormap, or of full colour.
        cmap: Colormap of one-channel images, grey if None.
        overlays: One array ``(W, H)`` for each image, drawn over it, half transparent; cells
            that are 0 or NaN show the image.
        overlay_vmin: Value of the lower end of the colormap of the overlays.
        overlay_vmax: Value of the upper end of the colormap of the overlays.
        overlay_cmap: Colormap of the overlays, "viridis" if None.
        label: Text to the left of the first image.
        colorbar: Whether to draw a colour bar to the right of the last image.
        x_index: Whether to write the place in the batch below each image.
        normalize: Whether to scale all images by the smallest and largest value among them.

    Raises:
        ValueError: If no image is given, or the numbers of images, overlays and axes differ.
    """
    shown = [to_whc(np.asarray(image, dtype=float)) for image in images]
    if not shown:
        raise ValueError("images must hold at least one image, got none")
    _check_count("overlays", overlays, len(shown))
    if normalize:
        shown = _normalized_together(shown)
    last: Any = None
    axes = _axes_of(ax, len(shown))
    for place, (axis, image) in enumerate(zip(axes, shown, strict=True)):
        last = axis.imshow(
            _displayed(image, vmin, vmax),
            vmin=vmin,
            vmax=vmax,
            cmap=cmap or "gray",
            interpolation="nearest",
        )
        if overlays is not None:
            last = axis.imshow(
                _visible(np.asarray(overlays[place], dtype=float)),
                vmin=overlay_vmin,
                vmax=overlay_vmax,
                cmap=overlay_cmap or "viridis",
                alpha=_OVERLAY_OPACITY,
                interpolation="nearest",
            )
        axis.set(xticks=[], yticks=[])
        if x_index:
            axis.set_xlabel(str(place))
    axes[0].set_ylabel(label)
    if colorbar:
        # In a box of its own beside the image, so that the image keeps its size.
        axes[-1].figure.colorbar(last, cax=axes[-1].inset_axes((1.05, 0.0, 0.05, 1.0)))


def _check_count(name: str, values: Sequence[Any] | Array | None, count: int) -> None:
    if values is not None and len(values) != count:
        raise ValueError(f"{name} must be as many as images ({count}), got {len(values)}")


def _axes_of(ax: Axes | Sequence[Axes] | Array, count: int) -> list[Axes]:
    """Return one axes for each image; divide a single one among them."""
    if not isinstance(ax, Axes):
        axes = list(np.ravel(np.asarray(ax, dtype=object)))
        _check_count("ax", axes, count)
        return axes
    if count == 1:
        return [ax]
    ax.set_axis_off()
    gap = 0.04
    width = (1 - gap * (count - 1)) / count
    return [ax.inset_axes((i * (width + gap), 0.0, width, 1.0)) for i in range(count)]


def _normalized_together(images: list[Array]) -> list[Array]:
    scaled = normalized(np.concatenate([image.ravel() for image in images]))
    parts = np.split(scaled, np.cumsum([image.size for image in images])[:-1])
    return [part.reshape(image.shape) for part, image in zip(parts, images, strict=True)]


def _displayed(image: Array, vmin: float | None, vmax: float | None) -> Array:
    """Return what imshow takes: a plane of values, or colours in [0, 1]."""
    if image.shape[-1] == 1:
        return image[..., 0]
    low, high = 0.0 if vmin is None else vmin, 1.0 if vmax is None else vmax
    return np.asarray(np.clip((np.nan_to_num(image) - low) / (high - low), 0, 1))


def _visible(overlay: Array) -> Array:
    plane = to_whc(overlay)[..., 0]
    return np.ma.masked_where(~np.isfinite(plane) | (plane == 0), plane)
