"""A rollout as a strip of pictures."""

import numpy as np
from matplotlib.figure import Figure
from torch import Tensor

from ncalab.core import AbstractNCAModel
from ncalab.core.checks import check_batch, check_int
from ncalab.core.fire import draw_seed
from ncalab.viz.arrays import check_planar
from ncalab.viz.figure import SMALL, add_legend, panel_grid, shrink_text
from ncalab.viz.overlay import find_style
from ncalab.viz.painter import Painter, first_state
from ncalab.viz.reel import Reel
from ncalab.viz.style import AnimatorStyle
from ncalab.viz.visuals.base import MAX_SAMPLES


def plot_rollout(
    nca: AbstractNCAModel,
    seed: Tensor,
    steps: int | None = None,
    *,
    count: int = 8,
    overlay: bool = True,
    hidden: bool = False,
    style: str | AnimatorStyle = "light",
    rollout_seed: int | None = None,
    goal: Tensor | None = None,
) -> Figure:
    """Show a rollout as a film strip: a row for each sample, a column for each chosen step.

    Args:
        nca: Model of any task.
        seed: Images ``(B, image channels, W, H)`` or states ``(B, C, W, H)`` to start from; up
            to 8 are shown.
        steps: Number of steps, ``inference_timesteps`` of the model if None.
        count: Number of pictures: the start, the last step and steps evenly between them.
        overlay: Whether the cells show what they say about the task; see :class:`Animator`.
        hidden: Whether to show the hidden channels beside each picture, as tiles.
        style: Name of a style, or a style.
        rollout_seed: Decides which cells fire; drawn if None.
        goal: Goal of each sample, for a model with ``goal_size``; see :class:`Animator`.

    Returns:
        Figure; not registered with pyplot.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range.
    """
    check_planar("nca", nca)
    check_batch("seed", seed)
    check_int("count", count, minimum=2)
    nca.encode_goal(goal, len(seed))
    seed, style = seed[:MAX_SAMPLES], find_style(style)
    goal = None if goal is None else goal[:MAX_SAMPLES]
    rollout_seed = draw_seed() if rollout_seed is None else rollout_seed
    start = first_state(nca, seed, steps, rollout_seed)
    painters = [
        Painter(nca, start[i : i + 1], style, overlay=overlay, hidden=hidden, show_input=False)
        for i in range(len(seed))
    ]
    reels = [Reel(painter.shape) for painter in painters]

    def keep(step: int, state: Tensor) -> bool:
        prediction = nca.post_prediction(nca.read_out(state, step))
        for sample, (painter, reel) in enumerate(zip(painters, reels, strict=True)):
            reel.append(painter.planes(prediction[sample]))
        return False

    keep(0, start)
    nca.predict(seed, steps, seed=rollout_seed, on_step=keep, goal=goal)
    # A choice needs the number of steps, which a range of them or a cascade leaves open till now.
    places = np.unique(np.linspace(0, len(reels[0]) - 1, count).round().astype(int))
    return _draw(painters, reels, places)


def _draw(painters: list[Painter], reels: list[Reel], places: np.ndarray) -> Figure:
    for painter, reel in zip(painters, reels, strict=True):
        painter.fit(reel[-1])
    reading = painters[0].reading
    legend = [] if reading is None else reading.legend()
    first = painters[0].paint(reels[0][0])
    figure, axes = panel_grid(
        len(reels), len(places), first.shape[:2], extra=0.3 if legend else -0.1
    )
    for row, painter, reel in zip(axes, painters, reels, strict=True):
        for axis, place in zip(row, places, strict=True):
            axis.imshow(painter.paint(reel[int(place)]), interpolation="nearest")
            axis.set_axis_off()
    for axis, place in zip(axes[0], places, strict=True):
        axis.set_title(f"step {place}", fontsize=SMALL)
    add_legend(figure, legend)
    shrink_text(figure)
    return figure
