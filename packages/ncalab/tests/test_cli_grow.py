import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_models import Run
from click import Option
from PIL import Image

from ncalab.cli.commands.grow import grow as command
from ncalab.tasks import GrowingNCAModel
from ncalab.tasks.growing import GrowthWatch, growing_preset, measure_growth
from ncalab.tasks.growing.picture import load_target
from ncalab.train import Pool

SMALL = ["--size", "8", "--padding", "2", "--hidden", "3", "--max-steps", "6", "--device", "cpu"]


def grow(run: Run, picture: Path, *more: object, code: int = 0) -> str:
    result = run("grow", picture, *SMALL, *more)
    assert result.exit_code == code, result.output
    return result.output


def history(folder: Path) -> dict[str, object]:
    data: dict[str, object] = json.loads((folder / "history.json").read_text())
    return data


def test_a_run_leaves_weights_history_animation_and_page(run: Run, picture: Path) -> None:
    output = grow(run, picture, "--epochs", 2)

    folder = Path("runs/disc")
    model = GrowingNCAModel.from_pretrained(folder / "pretrained")
    assert model.num_hidden_channels == 3 and model.use_alive_mask
    assert history(folder)["current_epoch"] == 2
    with Image.open(folder / "disc.gif") as animation:
        assert getattr(animation, "n_frames") == 97  # noqa: B009 - only of animations
    assert "Growing disc: " in (folder / "disc.html").read_text(encoding="utf-8")
    with Image.open(folder / "preview.png") as preview:
        assert preview.size == (2 * 4 * 12, 4 * 12)
    assert (folder / "history.png").read_bytes().startswith(b"\x89PNG")
    assert output.splitlines()[-1].startswith("mse_from_seed=")


def test_the_last_line_is_the_error_of_pictures_grown_from_the_seed(
    run: Run, picture: Path
) -> None:
    last = grow(run, picture, "--epochs", 1).splitlines()[-1]

    model = GrowingNCAModel.from_pretrained("runs/disc/pretrained")
    seeds = model.make_seed(12, 12).repeat(8, 1, 1, 1)
    rgba = load_target(picture, 8, 2) / 255
    target = np.concatenate([rgba[..., :3] * rgba[..., 3:], rgba[..., 3:]], axis=-1)
    grown = model.predict(seeds, 64, seed=0).image_channels_np
    want = np.square(grown - np.moveaxis(target, -1, 0)).mean()
    assert float(last.split("=")[1]) == pytest.approx(want, abs=2e-6)


def test_training_brings_the_picture_nearer(run: Run, picture: Path) -> None:
    grow(run, picture, "--epochs", 60, "--lr", 0.02)

    curves: Any = history(Path("runs/disc"))["curves"]
    # Not the last: states of the pool grow old, and are harder to keep than to grow.
    assert min(curves["losses"]["total"]) < 0.8 * curves["losses"]["total"][0]


def test_without_output_a_run_that_is_there_is_left_alone(run: Run, picture: Path) -> None:
    grow(run, picture, "--epochs", 1)
    before = Path("runs/disc/history.json").read_bytes()

    grow(run, picture, "--epochs", 1)

    assert Path("runs/disc/history.json").read_bytes() == before
    assert Path("runs/disc-2/history.json").is_file()


def test_an_output_that_holds_a_run_is_refused_unless_forced(run: Run, picture: Path) -> None:
    grow(run, picture, "--epochs", 2, "--output", "here")

    output = grow(run, picture, "--epochs", 1, "--output", "here", code=2)
    assert "--output must not hold a run yet, got here" in output
    assert history(Path("here"))["current_epoch"] == 2

    grow(run, picture, "--epochs", 1, "--output", "here", "--force")
    assert history(Path("here"))["current_epoch"] == 1


def test_a_run_that_goes_on_for_longer_keeps_its_schedule(run: Run, picture: Path) -> None:
    grow(run, picture, "--epochs", 2, "--output", "here")

    result = run("grow", picture, "--output", "here", "--resume", "--epochs", 4)

    assert result.exit_code == 0, result.output
    curves: Any = history(Path("here"))["curves"]
    # A tenth after the two epochs that it was started for.
    assert curves["lr"] == pytest.approx([0.02 * 0.1 ** (epoch / 2) for epoch in range(4)])


def test_resume_takes_the_settings_of_the_run(run: Run, picture: Path) -> None:
    grow(run, picture, "--epochs", 2, "--output", "here")

    # None of SMALL is repeated.
    result = run("grow", picture, "--output", "here", "--resume", "--epochs", 3)

    assert result.exit_code == 0, result.output
    assert GrowingNCAModel.from_pretrained("here/pretrained").num_hidden_channels == 3
    assert json.loads(Path("here/grow.json").read_text())["settings"]["epochs"] == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--size", 9], "--size must be 8 to resume the run in here, got 9"),
        (["--batch-size", 2], "--batch-size must be 3 to resume"),
        (["--no-damage"], "--damage must be True to resume"),
    ],
)
def test_resume_refuses_another_setting_by_name(
    run: Run, picture: Path, options: list[object], message: str
) -> None:
    grow(run, picture, "--epochs", 1, "--output", "here")
    before = Path("here/grow.json").read_bytes()

    result = run("grow", picture, "--output", "here", "--resume", *options)

    assert result.exit_code == 2 and message in result.stderr
    assert Path("here/grow.json").read_bytes() == before


def test_resume_refuses_another_picture(run: Run, picture: Path) -> None:
    grow(run, picture, "--epochs", 1, "--output", "here")
    Image.new("RGBA", (9, 9), "blue").save("other.png")

    result = run("grow", "other.png", "--output", "here", "--resume")

    assert result.exit_code == 2
    assert "IMAGE must be the picture of the run in here, got another: other.png" in result.stderr


def test_resume_needs_a_run(run: Run, picture: Path) -> None:
    result = run("grow", picture, "--output", "nothing", "--resume")

    assert result.exit_code == 2 and "there is none in nothing" in result.stderr
    assert not Path("nothing").exists()


def test_a_picture_without_transparency_is_grown_as_a_rectangle_and_that_is_said(
    run: Run, workplace: Path
) -> None:
    Image.new("RGB", (8, 4), (255, 0, 0)).save("flat.png")
    said: list[str] = []

    target = load_target(Path("flat.png"), 8, 1, say=said.append)

    assert said[0].startswith("flat.png has no transparency: the whole rectangle is grown")
    # Read before the folder is refused.
    Path("run").mkdir()
    Path("run/history.json").write_text("{}")
    assert said[0] in run("grow", "flat.png", "--size", "8", "--output", "run").stderr
    assert target.shape == (10, 10, 4)
    # Eight cells wide, four high, in the middle: rows come first.
    assert (target[3:7, 1:9] == (255, 0, 0, 255)).all()
    assert target[..., 3].sum() == 255 * 32


def test_a_figure_with_transparency_says_nothing(picture: Path) -> None:
    said: list[str] = []

    target = load_target(picture, 12, 0, say=said.append)

    assert said == []
    assert target[0, 0].tolist() == [0, 0, 0, 0] and target[6, 6].tolist() == [220, 40, 30, 255]


def test_a_photograph_is_turned_as_its_camera_was(workplace: Path) -> None:
    image = Image.new("RGB", (8, 4), (255, 0, 0))
    exif = image.getexif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    image.save("photo.jpg", exif=exif)

    target = load_target(Path("photo.jpg"), 8, 0)

    assert (target[:, 2:6, 3] == 255).all() and target[..., 3].sum() == 255 * 32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a picture", "bad.png cannot be read as an image"),
        (None, "IMAGE must show something, got a fully transparent bad.png"),
    ],
)
def test_a_picture_that_cannot_be_grown_is_named_before_any_work(
    run: Run, workplace: Path, content: bytes | None, message: str
) -> None:
    if content is None:
        Image.new("RGBA", (4, 4)).save("bad.png")
    else:
        Path("bad.png").write_bytes(content)

    result = run("grow", "bad.png")

    assert result.exit_code == 2 and message in result.stderr
    assert not Path("runs").exists()


@pytest.mark.parametrize(("option", "damaged"), [("--damage", 7), ("--no-damage", 0)])
def test_damage_cuts_holes_into_all_that_is_not_grown_anew(
    run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch, option: str, damaged: int
) -> None:
    pools: list[Pool] = []

    def kept(*arguments: Any, **options: Any) -> Pool:
        pools.append(Pool(*arguments, **options))
        return pools[-1]

    monkeypatch.setattr("ncalab.cli.jobs.grow.Pool", kept)

    grow(run, picture, "--epochs", 1, option, "--batch-size", 8)

    (pool,) = pools
    assert (pool.n_seed, pool.damage, pool.num_damaged) == (1, damaged > 0, damaged)


def test_the_verdict_is_printed_and_written_beside_the_weights(run: Run, picture: Path) -> None:
    output = grow(run, picture, "--epochs", 1)

    report = json.loads(Path("runs/disc/pretrained/growth.json").read_text())
    assert report["verdict"] in output.splitlines()
    assert report["verdict"].endswith("at step 64") and set(report["errors"]) == {"64", "70"}
    # A page pauses before it shows what was never learned.
    assert '"pauseAfter": 64' in Path("runs/disc/disc.html").read_text(encoding="utf-8")


def test_the_time_is_said_before_and_minutes_set_the_number_of_steps(
    run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncalab.cli.jobs.grow.seconds_per_epoch", lambda *_: 15.0)

    result = run("grow", picture, *SMALL, "--minutes", 0.5)

    assert result.exit_code == 0, result.output
    assert "disc.png on 12 x 12 cells: 2 optimiser steps, about 30 seconds" in result.stderr
    assert history(Path("runs/disc"))["current_epoch"] == 2
    curves: Any = history(Path("runs/disc"))["curves"]
    assert curves["lr"] == pytest.approx([0.02, 0.02 * 0.1**0.5])


def test_minutes_and_epochs_exclude_each_other(run: Run, picture: Path) -> None:
    output = grow(run, picture, "--epochs", 2, "--minutes", 3, code=2)

    assert "--minutes must be left out where --epochs is given, got 3" in output


def test_minutes_of_a_run_that_goes_on_are_further_ones(
    run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncalab.cli.jobs.grow.seconds_per_epoch", lambda *_: 30.0)
    grow(run, picture, "--epochs", 2)

    grow(run, picture, "--output", "runs/disc", "--resume", "--minutes", 1)

    assert history(Path("runs/disc"))["current_epoch"] == 4


def test_a_rollout_that_cannot_reach_the_border_is_refused(run: Run, picture: Path) -> None:
    result = run("grow", picture, "--size", 40, "--max-steps", 10)

    assert result.exit_code == 2
    assert "--max-steps must be at least 20 for this picture" in result.stderr
    assert not Path("runs").exists()


def test_steps_follow_from_the_size(run: Run, picture: Path) -> None:
    result = run("grow", picture, "--size", 28, "--padding", 2, "--hidden", 3, "--epochs", 1)

    assert result.exit_code == 0, result.output
    model = GrowingNCAModel.from_pretrained("runs/disc/pretrained")
    assert model.training_timesteps == (16, 33) and model.inference_timesteps == 64


def test_the_same_seed_trains_the_same_weights(run: Run, picture: Path) -> None:
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        grow(run, picture, "--epochs", 2, "--output", name, "--seed", seed)

    models = [GrowingNCAModel.from_pretrained(f"{name}/pretrained") for name in "abc"]
    a, b, c = (torch.cat([p.flatten() for p in model.parameters()]) for model in models)
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_a_run_does_not_go_on_to_fewer_epochs_than_it_had(run: Run, picture: Path) -> None:
    grow(run, picture, "--epochs", 3)

    output = grow(run, picture, "--output", "runs/disc", "--resume", "--epochs", 2, code=2)

    assert "--epochs must be at least the 3 that runs/disc has had, got 2" in output
    assert json.loads(Path("runs/disc/grow.json").read_text())["settings"]["epochs"] == 3


def test_grey_of_sixteen_bits_keeps_its_brightness(workplace: Path) -> None:
    Image.fromarray(np.full((6, 6), 3000, dtype=np.uint16)).save("dark.png")

    target = load_target(Path("dark.png"), 6, 0)

    assert (target[..., :3] == 3000 // 257).all() and (target[..., 3] == 255).all()


def test_the_options_of_the_command_default_to_the_recipe() -> None:
    preset = growing_preset()

    # Help must not import what the recipe is made of, so the command states it again.
    defaults = {option.name: option.default for option in command.params}
    assert defaults["quality"] == preset.quality
    helps = {option.name: option.help for option in command.params if isinstance(option, Option)}
    assert f"[default: {preset.trainer['lr']}, less above 48 cells]" in str(helps["lr"])
    assert defaults["hidden"] == preset.model["num_hidden_channels"]
    assert defaults["damage"] == preset.pool["damage"]


@pytest.mark.parametrize("name", ["disc.gif", "disc.html", "preview.png", "history.png"])
def test_no_file_that_is_not_of_a_run_is_replaced(run: Run, picture: Path, name: str) -> None:
    Path("mine").mkdir()
    Path("mine", name).write_text("mine")

    result = run("grow", picture, *SMALL, "--epochs", 1, "--output", "mine")

    assert result.exit_code == 2
    assert f"--output must not hold results yet, got {Path('mine', name)}" in result.stderr
    assert [path.name for path in Path("mine").iterdir()] == [name]
    assert Path("mine", name).read_text() == "mine"


def test_the_picture_itself_is_never_replaced(run: Run, picture: Path) -> None:
    grow(run, picture, "--epochs", 1, "--output", "first")
    before = Path("first/preview.png").read_bytes()
    for more in ("--output", "first", "--force"), ("--output", "first"):
        result = run("grow", "first/preview.png", *SMALL, "--epochs", 1, *more)
        assert result.exit_code == 2
        assert "where nothing that is read would be replaced, got first" in result.stderr
    assert Path("first/preview.png").read_bytes() == before
    # A GIF is both what can be grown, and what is written.
    Path("film").mkdir()
    Image.new("RGBA", (8, 8), (255, 0, 0, 255)).save("film/film.gif")
    before = Path("film/film.gif").read_bytes()
    for force in [], ["--force"]:
        result = run("grow", "film/film.gif", *SMALL, "--epochs", 1, "--output", "film", *force)
        assert result.exit_code == 2
    assert Path("film/film.gif").read_bytes() == before


def test_what_was_said_of_other_weights_goes_with_them(
    run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grow(run, picture, "--epochs", 1, "--output", "run")
    shown = [Path("run", name) for name in ("disc.gif", "disc.html", "pretrained/growth.json")]
    assert all(path.exists() for path in shown)
    other = picture.with_name("other.png")
    picture.rename(other)
    with monkeypatch.context() as patch:
        patch.setattr(GrowthWatch, "__call__", lambda *_: signal.raise_signal(signal.SIGINT))
        result = run("grow", other, "--output", "run", "--resume", "--epochs", 5)

    assert result.exit_code == 130, result.output
    assert Path("run/pretrained/model.safetensors").exists()
    assert not any(path.exists() for path in shown)

    result = run("grow", other, "--output", "run", "--resume")
    assert result.exit_code == 0, result.output
    # It keeps its name, so that nothing of it stays behind.
    assert all(path.exists() for path in shown) and not Path("run/other.gif").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--minutes", "nan"], "nan is not a finite number"),
        (["--lr", "inf"], "inf is not a finite number"),
        (["--size", "1", "--padding", "0"], "must be 3 cells at least, got 1 and 0"),
        (["--batch-size", "1"], "--batch-size must be at least 2, a seed and a grown picture"),
    ],
)
def test_a_wrong_option_is_named_and_leaves_nothing(
    run: Run, picture: Path, options: list[str], message: str
) -> None:
    result = run("grow", picture, *options)

    assert result.exit_code == 2 and message in " ".join(result.stderr.split())
    assert not Path("runs").exists()


def test_long_rollouts_are_measured_for_longer(
    run: Run, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ncalab.cli.jobs.grow.measure_growth", measure_growth)
    small = ["--size", "4", "--padding", "1", "--hidden", "1", "--device", "cpu"]

    result = run("grow", picture, *small, "--max-steps", 600, "--epochs", 1, "--output", "run")

    assert result.exit_code == 0, result.output
    growth = json.loads(Path("run/pretrained/growth.json").read_text())
    assert growth["arrival"] == 600 and growth["length"] == 1200
