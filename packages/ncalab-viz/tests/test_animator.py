import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.animation import FuncAnimation
from PIL import Image, ImageSequence
from viz_models import (
    CellClassModel,
    DepthModel,
    SegmentationModel,
    make,
    make_fading,
    make_head,
    random_images,
    state_of,
)

from ncalab.core import AbstractNCAModel
from ncalab.viz import Animator, AnimatorStyle, animator_style_dark, animator_styles
from ncalab.viz.colors import class_colors
from ncalab.viz.video import find_ffmpeg


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


@pytest.mark.parametrize("image", [1, 3, 4])
@pytest.mark.parametrize("kind", [SegmentationModel, CellClassModel, DepthModel, None])
@pytest.mark.parametrize("style", ["dark", "light"])
def test_every_task_is_animated_with_everything(
    tmp_path: Path, image: int, kind: type[AbstractNCAModel] | None, style: str
) -> None:
    model = make_head(image) if kind is None else make(kind, image, 3, 1 + 2 * (image == 3))

    Animator(
        model,
        random_images(5, image),
        overlay=True,
        hidden=True,
        show_input=True,
        style=style,
        sample=3,
    ).save(tmp_path / "a.gif")

    assert len(frames(tmp_path / "a.gif")) == 4


def test_living_cells_show_the_colours_of_their_classes() -> None:
    model = make(CellClassModel, 1, 0, 3)
    image = torch.tensor([[[[1.0, 0.0], [1.0, 1.0]]]])
    output = torch.zeros(1, 3, 2, 2)
    output[0, 1] = 1.0
    output[0, 2, 1, 1] = 2.0

    frame = Animator(model, state_of(model, image, output), 1, overlay=True).frames[-1]

    want = np.round(np.stack([class_colors(3)[[1, 1, 2]]]) * 255)
    np.testing.assert_array_equal(frame[[0, 1, 1], [0, 0, 1]], want[0])
    assert frame[0, 1].tolist() == [0, 0, 0]


def test_depths_are_coloured_between_those_of_the_last_step() -> None:
    depth = make(DepthModel, 1, 0, 1)
    state = state_of(depth, torch.zeros(1, 1, 2, 2), torch.tensor([[[[1.0, 2.0], [3.0, 5.0]]]]))

    frame = Animator(depth, state, 1, overlay=True).frames[-1]

    brightness = frame.mean(axis=-1)
    assert brightness.ravel().tolist() == sorted(set(brightness.ravel()))
    assert frame[0, 0].tolist() == [68, 1, 84]  # the first colour of viridis
    assert frame[1, 1].tolist() == [253, 231, 37]  # and its last


def test_what_a_head_says_stands_in_the_caption() -> None:
    model = make_head(1, 2)
    model.class_names = ["cat", "dog"]  # type: ignore[assignment]  # the task's own attribute
    state = state_of(model, random_images(1, 1))
    state[:, 1], state[:, 2] = 0.0, np.log(3)

    animator = Animator(model, state, 2, overlay=True)
    animator._draw_frame(1)

    texts = [text.get_text() for text in animator._stage.figure.texts]
    assert texts == ["Step 1/2   dog 75%"]


def test_the_legend_names_the_classes_and_the_scale_its_ends() -> None:
    segmentation = make(SegmentationModel, 1, 0, 3)
    segmentation.class_names = ["background", "interior", "border"]  # type: ignore[assignment]  # the task's own attribute
    depth = make(DepthModel, 1, 0, 1)
    output = torch.tensor([[[[1.0, 1.0], [4.0, 4.0]]]])
    state = state_of(depth, torch.zeros(1, 1, 2, 2), output)

    classes = Animator(segmentation, random_images(1, 1), 1, overlay=True)._stage.figure
    values = Animator(depth, state, 1, overlay=True)._stage.figure

    assert [text.get_text() for text in classes.legends[0].get_texts()] == ["interior", "border"]
    assert [text.get_text() for text in values.axes[1].texts] == ["2", "8"]


def test_the_start_is_the_one_of_the_rollout_also_with_noise_and_drawn_steps() -> None:
    model = make_fading(1, 1, 0, pad_noise=True, fire_rate=0.0, inference_timesteps=(3, 9))
    seed = torch.zeros(1, 1, 5, 6)

    animator = Animator(model, seed, hidden=True, rollout_seed=3)

    np.testing.assert_array_equal(animator.frames[0], animator.frames[-1])  # no cell fires
    assert animator.steps[-1] == model.predict(seed, seed=3).steps


def test_hidden_channels_are_shown_on_the_scale_of_the_last_step() -> None:
    model = make_fading(1, 1, 0, fire_rate=0.0)
    for scale in (1e-3, 1.0, 1e3):
        state = torch.zeros(1, 2, 2, 2)
        state[0, 1, 0, 0], state[0, 1, 1, 1] = scale, -scale

        frame = Animator(model, state, 1, hidden=True).frames[-1][:, -2:]

        assert frame[0, 0, 0] > 2 * frame[0, 0, 2]  # red
        assert frame[1, 1, 2] > 2 * frame[1, 1, 0]  # blue
        assert frame[0, 1].min() > 240  # white


def test_a_grid_of_another_size_is_stretched_to_that_of_the_input() -> None:
    model = make_fading(1, 0, 0)

    def predict(_seed: Any, *_: Any, on_step: Any, **__: Any) -> None:
        on_step(1, torch.tensor([[[[0.0, 1.0]]]]))

    model.predict = predict  # type: ignore[assignment]  # replaced to look into it
    animator = Animator(model, torch.zeros(1, 1, 3, 5))

    assert animator.frames[-1][..., 0].tolist() == [[0, 0, 0, 255, 255]] * 3


def test_an_animation_without_any_change_has_all_its_frames(tmp_path: Path) -> None:
    style = AnimatorStyle("black", "red", "white", "white", progress_h=0)
    animator = Animator(
        make(SegmentationModel, 3, 0, 1), random_images(1, 3), 5, style=style, show_timestep=False
    )

    animator.save(tmp_path / "a.gif")

    assert len(durations(tmp_path / "a.gif")) == 6


def test_standardised_images_keep_their_contrast() -> None:
    model = make(SegmentationModel, 1, 0, 1)
    image = torch.tensor([[[[-2.0, 0.0, 2.0]]]])

    frame = Animator(model, image, 1).frames[0]

    assert frame[0, :, 0].tolist() == [0, 128, 255]


def test_frames_are_drawn_in_any_order() -> None:
    animator = Animator(make_fading(1), torch.zeros(1, 1, 5, 6), steps=4)

    values = [int(frame.max()) for frame in (animator.frames[2], animator.frames[0])]
    assert values == [51, 0]
    assert [int(frame.max()) for frame in animator.frames[1:3]] == [26, 51]


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


def test_the_animation_is_the_only_file_that_is_left(tmp_path: Path) -> None:
    animator = Animator(make_fading(), torch.zeros(1, 4, 5, 6), 2)
    animator.save(tmp_path / "a.gif")

    assert isinstance(animator.animation_fig, FuncAnimation)
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_a_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.gif"
    path.write_bytes(b"old")
    animator = Animator(make_fading(), torch.zeros(1, 4, 5, 6), 2)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("ncalab.viz.gif.getdata", fail)
    with pytest.raises(OSError, match="disk full"):
        animator.save(path)

    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_a_film_holds_every_frame_in_even_sizes(tmp_path: Path, suffix: str, codec: str) -> None:
    pytest.importorskip("imageio_ffmpeg")
    path = tmp_path / f"a{suffix}"

    Animator(make_fading(), torch.zeros(1, 4, 5, 7), 5, interval=40).save(path)

    command = [find_ffmpeg(), "-i", str(path), "-f", "null", "-"]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    stream = re.search(r"Video: (\w+)\b.*?, (\d+)x(\d+)\b.*?, ([\d.]+) fps", report)
    assert stream is not None, report
    assert (stream[1], float(stream[4])) == (codec, 25)
    assert int(stream[2]) % 2 == int(stream[3]) % 2 == 0
    assert re.findall(r"frame= *(\d+)", report)[-1] == "6"


def test_without_the_package_an_installed_ffmpeg_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")

    assert find_ffmpeg() == "/usr/bin/ffmpeg"


def test_a_film_without_ffmpeg_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", None)
    monkeypatch.setattr("shutil.which", lambda _: None)
    animator = Animator(make_fading(), torch.zeros(1, 4, 5, 6), 1)

    with pytest.raises(RuntimeError, match=r"needs the program ffmpeg; .*ncalab-viz\[video\]"):
        animator.save(tmp_path / "a.mp4")
    with pytest.raises(ValueError, match=r"path must end in .gif, .mp4 or .webm, got .*a.avi"):
        animator.save(tmp_path / "a.avi")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": torch.zeros(4, 5, 6)}, r"seed must have shape \(B, C, W, H\)"),
        ({"seed": torch.zeros(1, 2, 5, 6)}, "must have 4 channels"),
        ({"sample": 1}, r"sample must be in \[0, 1\)"),
        ({"interval": 0}, "interval must be at least 1"),
        ({"interval": 655351}, "interval must be at most 655350 ms, got 655351"),
        ({"repeat_delay": 655251}, "repeat_delay must be at most 655250 ms after an interval of"),
        ({"style": "pink"}, "style must be one of dark, light, got 'pink'"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"repeat": "no"}, "repeat must be True or False, got 'no'"),
        ({"overlay": "mask"}, "overlay must be True or False, got 'mask'"),
        ({"show_timestep": 1}, "show_timestep must be True or False, got 1"),
        ({"hidden": "no"}, "hidden must be True or False, got 'no'"),
        ({"show_input": None}, "show_input must be True or False, got None"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        Animator(make_fading(), **{"seed": torch.zeros(1, 4, 5, 6), **arguments})


def test_an_unknown_colour_is_named() -> None:
    with pytest.raises(ValueError, match="color_title must be a colour"):
        AnimatorStyle("black", "red", "reddish", "white")


@pytest.mark.parametrize(
    ("grid", "size"),
    [
        ((1, 256), (2048, 8)),
        ((1, 1024), (2048, 2)),
        ((1024, 1), (2, 1024)),
        ((1, 1), (256, 256)),
        ((1, 70_000), (14_000, 1)),
        ((20_000, 2), (1, 10_000)),
    ],
)
def test_long_and_thin_grids_are_shown_in_a_picture_that_fits(
    tmp_path: Path, grid: tuple[int, int], size: tuple[int, int]
) -> None:
    animator = Animator(make_fading(1), torch.zeros(1, 1, *grid), 1, show_timestep=False)
    animator.save(tmp_path / "a.gif")

    with Image.open(tmp_path / "a.gif") as gif:
        width, height = gif.size
    assert width in (size[0], size[0] + 1)
    assert height in (size[1] + 3, size[1] + 4)  # the progress bar, and an even number


def test_many_cells_share_pixels_and_a_lonely_one_is_seen(tmp_path: Path) -> None:
    seed = torch.zeros(1, 1, 3, 40_000)
    seed[..., 1, 7] = 1

    animator = Animator(make_fading(1, fire_rate=0.0), seed, 1, show_timestep=False)
    animator.save(tmp_path / "a.gif")

    picture = frames(tmp_path / "a.gif")[0][0]
    assert picture.shape == (13_334, 3)
    assert picture[2].min() > 20 and picture[3].max() < 8  # a ninth of white
    assert animator.frames[0].shape == (3, 40_000, 3)


def test_an_animation_shows_the_goal_of_its_sample() -> None:
    model = make_fading(3, goal_size=2, num_goals=3)
    goals, state = torch.tensor([2, 0]), torch.zeros(1, model.num_channels, 4, 4)
    seen: list[torch.Tensor] = []

    def predict(*_: Any, goal: torch.Tensor, on_step: Any, **__: Any) -> None:
        seen.append(goal)
        on_step(1, state)

    model.predict = predict  # type: ignore[method-assign,assignment]  # what it is called with

    Animator(model, torch.zeros(2, 3, 4, 4), sample=1, goal=goals)

    assert seen[0].tolist() == [0]
    with pytest.raises(TypeError, match="goal must be a tensor for this model, got NoneType"):
        Animator(model, torch.zeros(2, 3, 4, 4))
    with pytest.raises(ValueError, match=r"goal must have shape \(2,\), got \(1,\)"):
        Animator(model, torch.zeros(2, 3, 4, 4), goal=goals[:1])
