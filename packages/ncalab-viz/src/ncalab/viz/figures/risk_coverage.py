"""Does the model know when it is wrong?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from ncalab.core.selective import selective_risks
from ncalab.viz.arrays import to_numpy
from ncalab.viz.colors import class_colors
from ncalab.viz.figure import SMALL, new_figure, shrink_text

Array = np.ndarray

_STYLES = ["-", "--", "-.", ":"]


def _risks(errors: Array, scores: Array) -> Array:
    return selective_risks(torch.from_numpy(errors), torch.from_numpy(scores)).numpy()


def plot_risk_coverage(errors: Any, scores: Any, *, error_name: str = "error") -> Figure:
    """Plot the mean error of the samples that a model is surest of, over their share.

    A good uncertainty falls away to the left, close to the curve of the best possible order; one
    that says nothing stays at the dotted mean of all errors.

    Args:
        errors: Error of each sample, shape ``(N,)``, N at least 1; such as ``1 - dice``.
        scores: Uncertainty of each sample, shape ``(N,)``; or several of them by name.
        error_name: What the error is called.

    Returns:
        Figure, with the area under each curve (AURC; lower is better) in its legend; not
        registered with pyplot.

    Raises:
        ValueError: If the shapes are others, or a value is not finite.
    """
    errors = _check("errors", errors, None)
    named = scores if isinstance(scores, Mapping) else {"uncertainty": scores}
    curves = {
        str(name): _risks(errors, _check(f"scores of {name!r}", values, len(errors)))
        for name, values in named.items()
    }
    figure = new_figure(4.2, 3.2)
    axes = figure.subplots()
    coverage = np.arange(1, len(errors) + 1) / len(errors)
    # Line styles, too: colours alone do not reach everybody.
    for place, (name, risks) in enumerate(curves.items()):
        label, color = f"{name} (AURC {risks.mean():.3g})", class_colors(max(len(curves), 6))[place]
        axes.plot(coverage, risks, color=color, ls=_STYLES[place % 4], label=label, zorder=3)
    best = _risks(errors, errors)
    axes.plot(coverage, best, color="0.6", lw=1, label=f"best order (AURC {best.mean():.3g})")
    mean = float(errors.mean())
    axes.axhline(mean, color="0.6", lw=1, ls=":", label=f"no order (AURC {mean:.3g})")
    axes.set(xlabel="share of samples kept, surest first", ylabel=f"mean {error_name}")
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=min(0.0, float(errors.min())))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(fontsize=SMALL, frameon=False)
    shrink_text(figure)
    return figure


def _check(name: str, values: Any, count: int | None) -> Array:
    array = to_numpy(values).astype(float)
    if array.ndim != 1 or not array.size or (count is not None and len(array) != count):
        wanted = "(N,) with N at least 1" if count is None else f"({count},), one for each error"
        raise ValueError(f"{name} must have shape {wanted}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)][0]}")
    return array
