import base64
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from headless import CHROMIUM, WHY_NOT, run_in_page
from PIL import Image
from viz_models import make_fading

from ncalab.viz import Animator, plot_rollout


def animate(steps: int, **options: Any) -> Animator:
    model = make_fading(1, fire_rate=1.0)
    return Animator(model, torch.ones(1, 1, 4, 5), steps=steps, rollout_seed=0, **options)


def player_frames(html: str) -> list[np.ndarray]:
    """Return the pictures that a player holds."""
    found = re.search(r"const frames = (\[.*\]);", html)
    assert found is not None
    sources = (base64.b64decode(source.partition(",")[2]) for source in json.loads(found[1]))
    return [np.asarray(Image.open(io.BytesIO(source))) for source in sources]


def test_a_notebook_shows_a_figure_that_pyplot_does_not_know() -> None:
    figure: Any = plot_rollout(make_fading(1), torch.ones(1, 1, 4, 5), steps=4)

    with Image.open(io.BytesIO(figure._repr_png_())) as picture:
        assert picture.format == "PNG"
        np.testing.assert_allclose(picture.size, figure.bbox.size, atol=1)


def test_a_notebook_shows_every_frame_of_an_animation() -> None:
    animator = animate(3)

    shown = player_frames(animator._repr_html_())

    assert len(shown) == 4
    for frame, image in zip(shown, animator.images(), strict=True):
        np.testing.assert_array_equal(frame, np.asarray(image))


def test_of_a_long_animation_a_notebook_shows_first_and_last_frame_and_some_between() -> None:
    animator = animate(299)

    shown = player_frames(animator._repr_html_())

    drawn = list(animator.images())
    assert len(shown) == 120
    np.testing.assert_array_equal(shown[0], np.asarray(drawn[0]))
    np.testing.assert_array_equal(shown[-1], np.asarray(drawn[-1]))


def test_two_players_on_one_page_do_not_meet() -> None:
    animator = animate(1)

    first, second = (re.findall(r'id="([\w-]+)"', animator._repr_html_()) for _ in range(2))

    assert len(first) == len(second) == 1 and first != second


def test_a_player_needs_nothing_from_the_network() -> None:
    assert "http" not in animate(1)._repr_html_()


def test_an_animation_says_what_it_shows() -> None:
    assert repr(animate(3)) == "Animator(FadingModel, steps=3, frames=4)"


@pytest.mark.skipif(CHROMIUM is None, reason=WHY_NOT)
def test_a_player_plays_and_can_be_paused_and_moved(tmp_path: Path) -> None:
    page = f"<!doctype html><body>{animate(3, interval=60000)._repr_html_()}</body>"
    script = """
        const root = document.querySelector("div");
        const find = (tag) => root.querySelector(tag);
        const [picture, button, slider] = ["img", "button", "input"].map(find);
        const playing = button.textContent;
        const first = picture.src;
        slider.value = 2;
        slider.dispatchEvent(new Event("input"));
        const stopped = button.textContent;
        const moved = picture.src !== first;
        button.click();
        return [playing, stopped, moved, button.textContent];
    """

    assert run_in_page(page, script, tmp_path) == ["❚❚", "▶", True, "❚❚"]
