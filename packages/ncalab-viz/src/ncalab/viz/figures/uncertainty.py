"""Figure of uncertainties beside predictions and errors."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.viz.arrays import (
    check_classes,
    check_images,
    displayed,
    layer_shown,
    middle_layer,
    to_numpy,
)
from ncalab.viz.colors import ERROR_CMAP
from ncalab.viz.figure import SMALL, add_legend, captions, panel_grid, shrink_text
from ncalab.viz.image_row import show_image_row
from ncalab.viz.images import to_rgb_image
from ncalab.viz.labels import class_labels
from ncalab.viz.reading import reading_of
from ncalab.viz.style import animator_style_light
from ncalab.viz.visuals.base import MAX_SAMPLES
from ncalab.viz.visuals.classification import class_shares

Array = np.ndarray


def plot_uncertainty(
    model: AbstractNCAModel,
    image: Any,
    prediction: Prediction,
    heatmap: Any,
    label: Any | None = None,
) -> Figure:
    """Show images, predictions, uncertainties and errors of up to 8 samples, of volumes a layer.

    Args:
        model: Model of any task.
        image: Images or states, shape ``(B, C, W, H)``, array or tensor; not changed.
        prediction: Prediction of these images.
        heatmap: Uncertainty of each cell, shape ``(B, W, H)`` or ``(B, K, W, H)``, of which the
            mean over K is shown; or of each image, shape ``(B,)``, ``(B, K)`` or, as estimators
            give it, ``(B, K, 1, 1)``.
        label: Ground truth in a shape of the task; without one, no errors are shown.

    Returns:
        Figure with a column for each sample; not registered with pyplot.

    Raises:
        ValueError: If images, uncertainties or labels do not fit the prediction.
    """
    if model.spatial_dims == 3:
        heatmap = middle_layer(to_numpy(heatmap), prediction.output_image.shape[-1])
    image, prediction, label = layer_shown(model, image, prediction, label)
    images = check_images(model, image, prediction)
    shape, count = (len(images), *images.shape[2:]), min(len(images), MAX_SAMPLES)
    maps, scores = _uncertainties(heatmap, shape)
    rows = _rows(model, displayed(images), prediction, label)
    if maps is not None:
        rows["uncertainty"] = maps
        # Below what should look like it.
        rows = {name: rows[name] for name in sorted(rows, key=_ORDER.index)}
    reading = reading_of(model)
    legend = [] if reading is None else reading.legend()
    figure, axes = panel_grid(len(rows), count, shape[1:], extra=0.3 if legend else 0.0)
    for row, (name, values) in zip(axes, rows.items(), strict=True):
        _show_row(row, values[:count], name)
    captions(axes[-1], [f"mean uncertainty {score:.3g}" for score in scores[:count]])
    if model.head is not None:
        _add_verdicts(axes[0], model, prediction, label)
    shrink_text(figure)
    add_legend(figure, legend)
    return figure


_ORDER = ["image", "predicted", "uncertainty", "error"]


def _uncertainties(heatmap: Any, shape: tuple[int, ...]) -> tuple[Array | None, Array]:
    """Return the uncertainty of each cell, None if there is none, and of each image."""
    values = to_numpy(heatmap).astype(float)
    batch, *grid = shape
    if values.ndim == 4 and (len(values), *values.shape[2:]) == shape:
        values = values.mean(axis=1)
    if values.shape == shape:
        return values, values.mean(axis=(1, 2))
    whole = values.ndim in (1, 2) or (values.ndim == 4 and values.shape[2:] == (1, 1))
    if whole and len(values) == batch:
        return None, values.reshape(batch, -1).mean(axis=1)
    raise ValueError(
        f"heatmap must have shape (B, W, H), (B, K, W, H), (B,), (B, K) or (B, K, 1, 1) with "
        f"B, W, H = {(batch, *grid)}, got {values.shape}"
    )


def _rows(
    model: AbstractNCAModel, images: Array, prediction: Prediction, label: Any | None
) -> dict[str, Array]:
    """Return pictures ``(B, W, H, 3)`` and values ``(B, W, H)`` by name."""
    rows = {"image": np.stack([to_rgb_image(picture) for picture in images])}
    reading = reading_of(model)
    if model.head is not None:
        return rows
    if reading is None:
        grown = prediction.image_channels_np
        rows["predicted"] = np.stack([to_rgb_image(picture) for picture in grown])
        if label is not None:
            rows["error"] = np.abs(grown - _check_target(label, grown.shape)).mean(axis=1)
        return rows
    planes = reading.planes(prediction)
    truth = None if label is None else reading.truth(label, planes.shape)
    reading.fit(planes if truth is None else truth)
    pairs = zip(images, planes, strict=True)
    rows["predicted"] = np.stack([reading.paint(*pair, animator_style_light) for pair in pairs])
    if truth is not None:
        rows["error"] = reading.error(planes, truth)
    return rows


def _check_target(label: Any, shape: tuple[int, ...]) -> Array:
    target = to_numpy(label)
    if target.shape != shape:
        raise ValueError(
            f"label must have the shape of the image channels {shape}, got {target.shape}"
        )
    return target


def _show_row(axes: Array, values: Array, name: str) -> None:
    if values.ndim == 4:
        show_image_row(axes, values, label=name)
        return
    # Not a range without outliers: the mistakes of a good mask are all outliers.
    known = values[np.isfinite(values)]
    highest = float(known.max()) if known.size and known.max() > 0 else 1.0
    show_image_row(axes, values, vmin=0, vmax=highest, cmap=ERROR_CMAP, label=name, colorbar=True)


def _add_verdicts(
    axes: Array, model: AbstractNCAModel, prediction: Prediction, label: Any | None
) -> None:
    """Write above each image what the head says, and whether that is right."""
    shares, _ = class_shares(model, prediction)
    names = class_labels(getattr(model, "class_names", None), shares.shape[1], 12)
    truth = None if label is None else check_classes(label, len(shares))
    for place, axis in enumerate(axes):
        best = int(shares[place].argmax())
        mark = "" if truth is None else " ✓" if best == truth[place] else " ✗"
        text = f"{names[best]} {shares[place, best]:.0%}{mark}"
        axis.set_title(text, fontsize=SMALL)
