import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import pyplot, rcParams
from matplotlib.animation import FuncAnimation
from PIL import Image, ImageSequence
from viz_models import make_fading

from ncalab.viz import Animator, AnimatorStyle, animator_style_dark, animator_styles


def frames(path: Path) -> list[np.ndarray]:
    """Return the frames of a GIF as RGB arrays."""
    with Image.open(path) as gif:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]


def durations(path: Path) -> list[int]:
    """Return the time of each frame of a GIF in milliseconds."""
    with Image.open(path) as gif:
        return [frame.info["duration"] for frame in ImageSequence.Iterator(gif)]


@pytest.mark.parametrize("image", [1, 3, 4])
@pytest.mark.parametrize(("hidden", "output"), [(0, 0), (5, 2)])
def test_every_kind_of_model_is_animated(
    tmp_path: Path, image: int, hidden: int, output: int
) -> None:
    model = make_fading(image, hidden, output)
    seed = torch.zeros(1, image, 7, 19)
    everything = {"overlay": True, "hidden": True, "show_input": True}

    Animator(model, seed, steps=3, **everything).save(tmp_path / "a.gif")  # type: ignore[arg-type]  # mypy joins the values

    assert len(frames(tmp_path / "a.gif")) == 4


def test_colours_of_cells_are_colours_of_pixels(tmp_path: Path) -> None:
    model = make_fading(3, fire_rate=0.0)
    seed = torch.zeros(1, 3, 2, 3)
    seed[0, 0, 0, 0] = 1  # red, top left
    seed[0, 2, 1, 2] = 1  # blue, bottom right

    animator = Animator(model, seed, steps=1, show_timestep=False)
    animator.save(tmp_path / "a.gif")

    width, height = 128, 128  # of a cell: 256 pixels for the side of two
    picture = frames(tmp_path / "a.gif")[0]
    assert picture.shape == (2 * width + 4, 3 * height, 3)  # an even height with the bar of 3
    assert np.abs(picture[10, 10].astype(int) - (255, 0, 0)).max() <= 8
    assert np.abs(picture[200, 380].astype(int) - (0, 0, 255)).max() <= 8
    assert picture[200, 10].max() <= 8


def test_the_rollout_is_the_one_of_its_seed() -> None:
    model = make_fading(1, fire_rate=0.5)
    seed = torch.zeros(1, 1, 5, 6)

    animator = Animator(model, seed, steps=4, rollout_seed=3, show_timestep=False)

    want = model.predict(seed, 4, seed=3).image_channels_np[0, 0]
    np.testing.assert_array_equal(animator.frames[-1][..., 0], np.round(want * 255))
    assert animator.frames[0].max() == 0


def test_every_nth_step_and_the_last_one_are_shown() -> None:
    animator = Animator(make_fading(), torch.zeros(1, 4, 5, 6), steps=10, every=4)

    assert animator.steps == [0, 4, 8, 10]


def test_the_overlay_is_on_the_mask_and_nowhere_else() -> None:
    model = make_fading(3, 0, 1, fire_rate=0.0)
    state = torch.zeros(1, 4, 2, 2)
    state[0, 3] = torch.tensor([[5.0, -5.0], [-5.0, -5.0]])
    style = AnimatorStyle("black", "#ff0000", "white", "white")

    plain = Animator(model, state, 1, style=style).frames[-1]
    tinted = Animator(model, state, 1, style=style, overlay=True).frames[-1]

    assert tinted[0, 0].tolist() == [128, 0, 0]
    assert (tinted != plain).any(axis=-1).sum() == 1


@pytest.mark.parametrize(("repeat", "last"), [(True, 120 + 700), (False, 120)])
def test_times_and_repetition_are_in_the_file(tmp_path: Path, repeat: bool, last: int) -> None:
    animator = Animator(
        make_fading(), torch.zeros(1, 4, 5, 6), 3, interval=120, repeat=repeat, repeat_delay=700
    )

    animator.save(tmp_path / "a.gif")

    assert durations(tmp_path / "a.gif") == [120, 120, 120, last]
    with Image.open(tmp_path / "a.gif") as gif:
        assert ("loop" in gif.info) == repeat


def test_the_progress_bar_grows_from_nothing_to_full_width(tmp_path: Path) -> None:
    style = AnimatorStyle("black", "white", "white", "#00ff00", progress_h=4)
    animator = Animator(make_fading(1), torch.zeros(1, 1, 8, 8), 4, style=style)

    animator.save(tmp_path / "a.gif")

    lit = [(picture[-2, :, 1] > 128).mean() for picture in frames(tmp_path / "a.gif")]
    assert lit == pytest.approx([0, 0.25, 0.5, 0.75, 1], abs=0.02)


@pytest.mark.parametrize("name", ["dark", "light"])
def test_styles_have_names(name: str) -> None:
    animator = Animator(make_fading(), torch.zeros(1, 4, 5, 6), 1, style=name)

    assert animator.style is animator_styles[name]
    assert animator_styles["dark"] is animator_style_dark


def test_nothing_global_changes(tmp_path: Path) -> None:
    settings, figures = dict(rcParams), pyplot.get_fignums()

    animator = Animator(make_fading(), torch.zeros(1, 4, 5, 6), 2)
    animator.save(tmp_path / "a.gif")

    assert isinstance(animator.animation_fig, FuncAnimation)
    assert dict(rcParams) == settings
    assert pyplot.get_fignums() == figures
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(b"old")
    animator = Animator(make_fading(), torch.zeros(1, 4, 5, 6), 2)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        animator.save(path)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed here")
def test_a_film_is_written_where_ffmpeg_is(tmp_path: Path) -> None:
    Animator(make_fading(), torch.zeros(1, 4, 5, 6), 5).save(tmp_path / "a.mp4")

    assert b"ftyp" in (tmp_path / "a.mp4").read_bytes()[:16]


def test_a_film_without_ffmpeg_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    animator = Animator(make_fading(), torch.zeros(1, 4, 5, 6), 1)

    with pytest.raises(RuntimeError, match="needs the program ffmpeg"):
        animator.save(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"path must end in .gif or .mp4, got .*a.avi"):
        animator.save(tmp_path / "a.avi")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": torch.zeros(4, 5, 6)}, r"seed must have shape \(B, C, W, H\)"),
        ({"seed": torch.zeros(1, 2, 5, 6)}, "must have 4 channels"),
        ({"sample": 1}, r"sample must be in \[0, 1\)"),
        ({"interval": 0}, "interval must be at least 1"),
        ({"style": "pink"}, "style must be one of dark, light, got 'pink'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Animator(make_fading(), **{"seed": torch.zeros(1, 4, 5, 6), **arguments})


def test_an_unknown_colour_is_named() -> None:
    with pytest.raises(ValueError, match="color_title must be a colour"):
        AnimatorStyle("black", "red", "reddish", "white")
