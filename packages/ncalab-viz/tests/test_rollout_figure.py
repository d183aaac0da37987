from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from viz_models import (
    CellClassModel,
    DepthModel,
    SegmentationModel,
    make,
    make_fading,
    make_head,
    random_images,
)

from ncalab.core import AbstractNCAModel
from ncalab.viz import Animator, plot_rollout


def shown(figure: Figure, place: int) -> np.ndarray:
    return np.asarray(figure.axes[place].get_images()[0].get_array())


@pytest.mark.parametrize("batch", [1, 5])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", [SegmentationModel, CellClassModel, DepthModel, None])
def test_every_task_is_a_strip(
    kind: type[AbstractNCAModel] | None, channels: int, batch: int, keep: Callable[[Any], Any]
) -> None:
    model = make_head(channels) if kind is None else make(kind, channels, 3, 3)

    figure = plot_rollout(model, keep(random_images(batch, channels)), count=3, hidden=True)
    figure.canvas.draw()

    assert len(figure.axes) == batch * 3


def test_pictures_are_evenly_spaced_from_the_start_to_the_last_step() -> None:
    model = make_fading(1, fire_rate=1.0)

    figure = plot_rollout(model, torch.zeros(1, 1, 5, 6), 10, count=6)

    assert [axis.get_title() for axis in figure.axes] == [f"step {i}" for i in (0, 2, 4, 6, 8, 10)]
    assert [int(shown(figure, i).max()) for i in range(6)] == [0, 51, 102, 153, 204, 255]


def test_a_short_rollout_has_no_picture_twice() -> None:
    figure = plot_rollout(make_fading(1), torch.zeros(1, 1, 5, 6), 2, count=8)

    assert len(figure.axes) == 3


def test_the_rollout_is_that_of_the_animation() -> None:
    model, seed = make_fading(3, fire_rate=0.5), torch.zeros(1, 3, 5, 6)

    figure = plot_rollout(model, seed, 4, count=2, rollout_seed=5)

    animator = Animator(model, seed, 4, rollout_seed=5)
    np.testing.assert_array_equal(shown(figure, 1), animator.frames[-1])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": torch.zeros(4, 5, 6)}, r"seed must have shape \(B, C, W, H\)"),
        ({"count": 1}, "count must be at least 2, got 1"),
        ({"style": "pink"}, "style must be one of dark, light, got 'pink'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plot_rollout(make_fading(), **{"seed": torch.zeros(1, 4, 5, 6), **arguments})


def test_a_strip_shows_each_sample_with_its_goal() -> None:
    model = make(SegmentationModel, 1, 3, 3, goal_size=2, num_goals=3)
    images, goals = random_images(10, 1), torch.arange(10) % 3

    figure = plot_rollout(model, images, count=2, goal=goals)

    assert len(figure.axes) == 8 * 2
    with pytest.raises(ValueError, match=r"goal must have shape \(10,\), got \(8,\)"):
        plot_rollout(model, images, goal=goals[:8])
