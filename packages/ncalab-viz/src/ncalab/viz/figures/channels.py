"""Figures of perception filters and hidden channels."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.checks import check_int
from ncalab.viz.arrays import check_planar, middle_layer, to_numpy
from ncalab.viz.colors import SIGNED_CMAP
from ncalab.viz.figure import SMALL, new_figure, panel_grid, shrink_text

Array = np.ndarray

_FIXED = ["Sobel, along H", "Sobel, along W", "Laplace"]
_PANEL = 0.62


def plot_filters(nca: AbstractNCAModel, *, max_channels: int = 16) -> Figure:
    """Show the perception filters: a row for each filter, a column for each channel.

    Fixed filters are the same for all channels and are shown once. Red is positive, blue is
    negative, and white is zero, on one scale for all.

    Args:
        nca: Model; of a cascade, the wrapped model.
        max_channels: Number of channels to show of learned filters, the first ones.

    Returns:
        Figure; not registered with pyplot.

    Raises:
        TypeError: If ``max_channels`` is not an integer.
        ValueError: If it is below 1, or the model has no filters.
    """
    check_int("max_channels", max_channels, minimum=1)
    filters = getattr(getattr(nca, "perception", None), "filters", None)
    if filters is None:
        raise ValueError(f"nca must have perception filters, got a {type(nca).__name__}")
    check_planar("nca", nca)
    learned = nca.num_learned_filters > 0
    kernels = to_numpy(filters)[:, : max_channels if learned else 1]  # (n, C, k, k)
    if not learned:
        kernels = kernels.swapaxes(0, 1)
    rows, columns = kernels.shape[:2]
    side = _PANEL if learned else 2 * _PANEL
    figure = new_figure(side * columns + 1.2, side * rows + 0.45)
    axes = figure.subplots(rows, columns, squeeze=False)
    limit = _limit(kernels)
    for place, axis in np.ndenumerate(axes):
        image = _show_signed(axis, kernels[place], limit)
    for column, axis in enumerate(axes[0]):
        name = _channel_name(nca, column) if learned else _FIXED[column]
        axis.set_title(name, fontsize=SMALL - 1)
    if learned:
        for row, axis in enumerate(axes[:, 0]):
            axis.set_ylabel(f"filter {row}")
    figure.colorbar(image, ax=axes, shrink=0.9)
    shrink_text(figure)
    return figure


def plot_hidden_channels(prediction: Prediction, sample: int = 0) -> Figure:
    """Show what the hidden channels of a state hold, each with its number; of volumes, a layer.

    Red is positive, blue is negative, and white is zero, on one scale for all.

    Args:
        prediction: Prediction of a model that has hidden channels.
        sample: Which sample of the batch to show.

    Returns:
        Figure; not registered with pyplot.

    Raises:
        ValueError: If the sample does not exist, or the model has no hidden channels.
    """
    batch = len(prediction.output_image)
    if not 0 <= sample < batch:
        raise ValueError(f"sample must be in [0, {batch}) for this prediction, got {sample}")
    channels = prediction.hidden_channels_np[sample]
    if prediction.model.spatial_dims == 3:
        channels = middle_layer(channels, channels.shape[-1])
    else:
        check_planar("prediction", prediction.model)
    if not len(channels):
        raise ValueError("prediction must have hidden channels, got none")
    columns = _columns(len(channels))
    rows = math.ceil(len(channels) / columns)
    figure, axes = panel_grid(rows, columns, channels.shape[1:], extra=0.05 * rows)
    limit = _limit(channels)
    for axis in axes.flat[len(channels) :]:
        axis.set_axis_off()
    for number, (axis, channel) in enumerate(zip(axes.flat, channels, strict=False)):
        image = _show_signed(axis, channel, limit)
        axis.set_title(f"hidden {number}", fontsize=SMALL, pad=2)
    figure.colorbar(image, ax=axes, shrink=0.8)
    shrink_text(figure)
    return figure


def _columns(count: int) -> int:
    """Return how many columns make a grid of few empty places, wider than high.

    >>> [_columns(count) for count in (1, 5, 12, 13, 16)]
    [1, 5, 4, 7, 4]
    """
    least = math.ceil(math.sqrt(count))
    return min(range(least, 2 * least), key=lambda columns: -count % columns)


def _limit(values: Array) -> float:
    """Return the largest absolute value without outliers; 1 if all are zero."""
    largest = float(np.percentile(np.abs(np.nan_to_num(values)), 99.5))
    return largest or float(np.abs(np.nan_to_num(values)).max()) or 1.0


def _show_signed(axis: Axes, values: Array, limit: float) -> AxesImage:
    axis.set(xticks=[], yticks=[])
    return axis.imshow(values, vmin=-limit, vmax=limit, cmap=SIGNED_CMAP, interpolation="nearest")


def _channel_name(nca: AbstractNCAModel, channel: int) -> str:
    """Return the kind of a channel and its place in it."""
    kinds = {
        "image": nca.num_image_channels,
        "hidden": nca.num_hidden_channels,
        "output": nca.num_output_channels,
    }
    for kind, size in kinds.items():
        if channel < size:
            return f"{kind} {channel}"
        channel -= size
    raise ValueError(f"channel must be one of the model's, got {channel} too many")
