"""The curves of a training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from ncalab.core.json_file import read_json
from ncalab.core.run_record import HISTORY_NAME, check_history
from ncalab.viz.colors import class_colors
from ncalab.viz.figure import SMALL, new_figure, shrink_text

Array = np.ndarray
# Curves by name, by the title of the panel that shows them.
_Panels = dict[str, dict[str, Sequence[float | None]]]

_STYLES = ["-", "--", "-.", ":"]
# Of more curves, a legend would hide some.
_MOST_INSIDE = 4
# Of more epochs, a marker at each would hide the curve.
_MOST_WITH_MARKERS = 30


def plot_history(history: Any) -> Figure:
    """Plot losses, validation metrics and learning rate over the epochs, and mark the best epoch.

    Of several runs, the total loss and each validation metric are compared.

    Args:
        history: ``TrainingHistory``, what its ``to_dict`` returns, a ``history.json``, or the
            folder of a training run; or a list of these, or a mapping from names to these.

    Returns:
        Figure; not registered with pyplot.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If it holds no training curves.
    """
    runs = _runs(history)
    lengths: dict[str, int] = {}
    if runs is None:
        data = _load(history)
        panels = _panels_of_one(data["curves"])
        best = data.get("best_epoch") or 0
    else:
        panels = _panels_of_several({name: _load(run)["curves"] for name, run in runs.items()})
        lengths = {name: len(loss) for name, loss in panels["loss"].items()}
        best = 0
    panels = {title: named for title, named in panels.items() if any(map(len, named.values()))}
    if not panels:
        raise ValueError("history must hold at least one epoch, got none")
    return _figure(panels, best, lengths)


def _runs(history: Any) -> Mapping[str, Any] | None:
    """Return several runs by name; None if there is one."""
    if isinstance(history, Mapping) and history and "curves" not in history:
        return history
    if isinstance(history, list | tuple) and history:
        return {f"run {number}": run for number, run in enumerate(history, start=1)}
    return None


def _panels_of_one(curves: Mapping[str, Any]) -> _Panels:
    """Return the curves of a run, by the panel that shows them."""
    panels = {"loss": curves.get("losses", {}), "validation": curves.get("metrics", {})}
    panels["learning rate"] = {"lr": curves["lr"]} if curves.get("lr") else {}
    return panels


def _panels_of_several(runs: Mapping[str, Mapping[str, Any]]) -> _Panels:
    """Return the total loss of each run, and each metric of those that have it."""
    losses = {name: curves.get("losses", {}).get("total", []) for name, curves in runs.items()}
    panels: _Panels = {"loss": losses}
    for name, curves in runs.items():
        for metric, curve in curves.get("metrics", {}).items():
            panels.setdefault(f"validation {metric}", {})[name] = curve
    return panels


def _figure(panels: _Panels, best: int, lengths: Mapping[str, int]) -> Figure:
    """Draw each panel, and mark the best epoch unless it is 0; runs have so many epochs by name."""
    longest_curve = max(len(values) for named in panels.values() for values in named.values())
    epochs = {name: lengths.get(name, longest_curve) for named in panels.values() for name in named}
    longest = max(map(len, panels.values()))
    figure = new_figure(3.1 * len(panels), 2.6 + (0.09 * longest if longest > _MOST_INSIDE else 0))
    for axes, (title, named) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        _draw(axes, title, named, epochs, logarithmic=not title.startswith("validation"))
        if best and title != "learning rate":
            axes.axvline(best, color="0.6", lw=1, ls=":", zorder=1)
            axes.set_title(f"best: epoch {best}", fontsize=SMALL)
    shrink_text(figure)
    return figure


def _load(history: Any) -> Mapping[str, Any]:
    """Return the history as data."""
    where = "history"
    if isinstance(history, str | Path):
        path = Path(history)
        where = str(path / HISTORY_NAME if path.is_dir() else path)
        history = read_json(where)
    elif hasattr(history, "to_dict"):
        history = history.to_dict()
    if not isinstance(history, Mapping) or not isinstance(history.get("curves"), Mapping):
        raise ValueError(
            f"{where} must be a TrainingHistory, its data, its file or its folder, or several, "
            f"got {type(history).__name__} without curves"
        )
    check_history(where, history, needed=())
    return history


def _draw(
    axes: Axes,
    title: str,
    named: Mapping[str, Sequence[float | None]],
    epochs: Mapping[str, int],
    *,
    logarithmic: bool,
) -> None:
    """Draw named curves, each in a colour and a line style of its own."""
    colors, positive = class_colors(max(len(named), 6)), True
    for place, (name, values) in enumerate(named.items()):
        # JSON has null for NaN: a gap in the curve.
        curve = np.array([np.nan if value is None else value for value in values], dtype=float)
        positive &= bool((curve[np.isfinite(curve)] > 0).all())
        # A value between two gaps has no line to be seen by.
        marker = "." if epochs[name] <= _MOST_WITH_MARKERS or np.isnan(curve).any() else None
        axes.plot(
            _epochs(len(curve), epochs[name]),
            curve,
            color=colors[(place + 4) % len(colors)],
            ls=_STYLES[place % 4],
            marker=marker,
            lw=1.2,
            label=name,
        )
    if logarithmic and positive:
        axes.set_yscale("log")
    axes.set(xlabel="epoch", ylabel=title)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
    axes.spines[["top", "right"]].set_visible(False)
    if len(named) > 1 or title == "validation":
        _add_legend(axes, len(named))


def _add_legend(axes: Axes, count: int) -> None:
    """Explain a few curves among them, and many below, where they hide none."""
    below = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.22), "ncols": 2}
    options: dict[str, Any] = {} if count <= _MOST_INSIDE else below
    axes.legend(fontsize=SMALL - 1, frameon=False, **options)


def _epochs(count: int, epochs: int) -> Array:
    """Return the epochs of a curve's values: every one, or evenly spaced up to the last.

    >>> _epochs(3, 6).tolist()
    [2.0, 4.0, 6.0]
    """
    return np.arange(1, count + 1) * (epochs / max(count, 1))
