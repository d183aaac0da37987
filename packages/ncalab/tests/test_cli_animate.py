from pathlib import Path

import numpy as np
import pytest
from cli_models import Run, Save, noise
from PIL import Image, ImageSequence

from ncalab.tasks import DepthNCAModel, GrowingNCAModel, SegmentationNCAModel


def frames(path: Path) -> list[np.ndarray]:
    with Image.open(path) as file:
        return [np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(file)]


def test_a_growing_model_starts_from_its_seed(
    run: Run, save: Save, growing: GrowingNCAModel
) -> None:
    result = run(
        *("animate", save(growing), "--output", "out/a.gif"),
        *("--size", 8, 6, "--steps", 4, "--every", 2, "--device", "cpu"),
    )

    assert result.exit_code == 0, result.output
    assert result.output == "out/a.gif: 3 frames of 4 steps\n"
    shown = frames(Path("out/a.gif"))
    assert len(shown) == 3 and not np.array_equal(shown[0], shown[2])


def test_a_picture_is_animated_with_what_cells_say(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    noise(Path("a.png"), 8, 8, 3)
    weights = save(segmentation)

    for name, options in (("plain", []), ("tinted", ["--overlay"]), ("wide", ["--hidden"])):
        result = run("animate", weights, "a.png", "--output", f"{name}.gif", *options)
        assert result.exit_code == 0, result.output

    plain, tinted, wide = (frames(Path(f"{name}.gif"))[-1] for name in ("plain", "tinted", "wide"))
    assert plain.shape == tinted.shape and not np.array_equal(plain, tinted)
    assert wide.shape[1] > plain.shape[1]


def test_the_style_colours_the_background(run: Run, save: Save, growing: GrowingNCAModel) -> None:
    weights = save(growing)
    for style in ("dark", "light"):
        run(
            "animate",
            weights,
            "--size",
            4,
            4,
            "--steps",
            1,
            "--style",
            style,
            "--output",
            f"{style}.gif",
        )

    dark, light = (frames(Path(f"{style}.gif"))[0][0, 0].mean() for style in ("dark", "light"))
    assert dark < 60 and light > 200


def test_a_run_of_ncalab_grow_is_shown_on_its_own_grid(run: Run, picture: Path) -> None:
    small = ["--size", 6, "--padding", 1, "--hidden", 2, "--max-steps", 4, "--epochs", 1]
    assert run("grow", picture, *small, "--output", "run").exit_code == 0

    result = run("predict", "run", "--save-state", "--steps", 1)
    assert result.exit_code == 0, result.output
    assert np.load("predictions/seed_state.npy").shape == (8, 8, 6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "a.png"], "--output must end in .gif or .mp4 or .webm, got a.png"),
        (["--output", "there.gif"], "--output must not hold results yet, got there.gif"),
        (["--output", "a.gif"], "IMAGE must be given for a model of depth, got none"),
        (
            ["a.png", "--size", "4", "4", "--output", "a.gif"],
            "--size must be left out with an image",
        ),
        (["a.png", "--style", "pink", "--output", "a.gif"], "'pink' is not one of 'dark', 'light'"),
    ],
)
def test_what_cannot_be_shown_is_said(
    run: Run, save: Save, depth: DepthNCAModel, arguments: list[str], message: str
) -> None:
    noise(Path("a.png"), 4, 4, 3)
    Path("there.gif").write_text("precious")

    result = run("animate", save(depth), *arguments)

    assert result.exit_code == 2 and message in result.stderr
    assert Path("there.gif").read_text() == "precious" and not Path("a.gif").exists()
