"""Every later image is prepared as the training images were, from whatever source it comes."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_models import Run, shaken
from PIL import Image, ImageSequence
from torch import Tensor

from ncalab.cli.config.build import build_model
from ncalab.cli.config.data import read_parts
from ncalab.cli.config.sections import check_config
from ncalab.cli.jobs.given import read_given
from ncalab.core import AbstractNCAModel, Preparation
from ncalab.core.intensities import NORMALIZATIONS
from ncalab.core.resizing import resize_linear, resize_nearest
from ncalab.tasks.segmentation.prediction import mask_of
from ncalab.viz import Animator
from ncalab.viz.reading import reading_of

Array = np.ndarray
Config = dict[str, Any]

SIZE, SMALL = (24, 20), (12, 10)
COUNT = 6
TASKS = ["segmentation", "classes", "votes", "depth", "cascade"]
OUT = Path("predictions")


def image(number: int, dtype: Any) -> Array:
    """A dim grey image with a bright disc."""
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    disc = np.hypot(rows - 6 - number, columns - 10) < 5
    noise = np.random.default_rng(number).normal(0, 40, SIZE)
    values: Array = (500 + 700 * disc + noise).clip(400, 1600)
    return values.astype(dtype) if dtype == np.uint16 else (values / 8).astype(dtype)


def write_data(task: str, dtype: Any) -> None:
    for number in range(COUNT):
        pixels = image(number, dtype)
        folder = Path(f"data/{'cat' if number % 2 else 'dog'}")
        others: dict[Path, Array] = {}
        if task in ("segmentation", "cascade"):
            folder = Path("data/images")
            others[Path("data/masks")] = ((pixels > pixels.mean() * 1.4) * 255).astype(np.uint8)
        if task == "depth":
            folder = Path("data/images")
            others[Path("data/depths")] = pixels.astype(np.uint16)
        for place, array in {folder: pixels, **others}.items():
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(place / f"{number}.png")


def config_of(task: str, **data: Any) -> Config:
    """Settings of a small training; a cascade is one of a segmentation."""
    names = {"segmentation": "Segmentation", "cascade": "Segmentation", "depth": "Depth"}
    name = names.get(task, "Classification")
    kind = f"{name}NCADataset" if name == "Segmentation" else f"{name}Dataset"
    model: Config = {"num_image_channels": 1, "num_hidden_channels": 3, "hidden_size": 6}
    if name == "Classification":
        model |= {"num_classes": 2, "avg_pool_size": 2, "pixel_wise_loss": task == "votes"}
    steps = {} if task == "cascade" else {"training_timesteps": 3, "inference_timesteps": 3}
    config = {
        "seed": 5,
        "device": "cpu",
        "output": "run",
        "model": {"class": f"{name}NCAModel", **model, **steps},
        "data": {"class": kind, "path": "data", "resize": list(SMALL), **data},
        "split": {"validation": 0.3},
        "loader": {"batch_size": 2},
        "trainer": {"max_epochs": 1, "progress": False, "batch_repeat": 1},
    }
    if task == "cascade":
        config["cascade"] = {"scales": [2, 1], "steps": [2, 1]}
    return config


def train(run: Run, task: str, dtype: Any = np.uint16, **data: Any) -> AbstractNCAModel:
    """Train, give the run weights that do something, and return its model."""
    write_data(task, dtype)
    config = config_of(task, **data)
    Path("config.json").write_text(json.dumps(config))
    result = run("train", "config.json")
    assert result.exit_code == 0, result.output
    model = shaken(AbstractNCAModel.from_pretrained("run/best_model.safetensors"))
    model.save("run/best_model.safetensors")
    return model


def seen_in_training(task: str, number: int, **data: Any) -> Tensor:
    """Return an image as the data set of the training yields it."""
    config = config_of(task, **data)
    config.pop("split")
    checked = check_config(config)
    part: Any = read_parts(checked, build_model(checked, torch.device("cpu"))).train
    # Folders of classes are read one after the other.
    cats_first = sorted(range(COUNT), key=lambda n: (n % 2 == 0, n))
    seen: Tensor = part[cats_first.index(number) if task in ("classes", "votes") else number][0]
    return seen


def path_of(task: str, number: int) -> Path:
    if task in ("classes", "votes"):
        return Path(f"data/{'cat' if number % 2 else 'dog'}/{number}.png")
    return Path(f"data/images/{number}.png")


def pixels_of(path: Path) -> Array:
    with Image.open(path) as file:
        return np.array(file)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("kind", NORMALIZATIONS)
def test_an_image_is_prepared_as_in_training(
    run: Run, workplace: Path, task: str, kind: str
) -> None:
    model = train(run, task, normalize=kind)

    for number in (1, 2):
        given = read_given(model, path_of(task, number))
        assert torch.equal(given.image, seen_in_training(task, number, normalize=kind))
        assert given.size == SIZE
        # The same for whoever has the model from a file, and the image from elsewhere.
        preparation = AbstractNCAModel.from_pretrained("run/pretrained").preparation
        assert preparation is not None
        assert torch.equal(preparation.apply(image(number, np.uint16)), given.image)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_predictions_are_those_of_prepared_images_in_their_own_size(
    run: Run, workplace: Path, task: str, dtype: Any
) -> None:
    model = train(run, task, dtype)
    files = [path_of(task, number) for number in range(COUNT)]

    result = run("predict", "run", *files, "--device", "cpu", "--seed", 3)

    assert result.exit_code == 0, result.output
    assert "does not say" not in result.stderr
    for number in range(COUNT):
        seen = seen_in_training(task, number)
        assert seen.shape == (1, *SMALL)
        check_result(model, number, seen)


def check_result(model: AbstractNCAModel, number: int, seen: Tensor) -> None:
    prediction = model.predict(seen[None], seed=3)
    if model.task == "segmentation":
        want = resize_nearest(mask_of(prediction.logits)[0], SIZE)
        assert 0 < want.float().mean() < 1
        assert np.array_equal(pixels_of(OUT / f"{number}_mask.png"), 255 * want.numpy())
    elif model.task == "depth":
        depth = resize_linear(model.interpret(prediction)[0, 0], SIZE)
        np.testing.assert_allclose(np.load(OUT / f"{number}_depth.npy"), depth, atol=1e-5)
        assert pixels_of(OUT / f"{number}_depth_color.png").shape == (*SIZE, 3)
    else:
        with (OUT / "classes.csv").open(newline="") as file:
            row = next(r for r in csv.DictReader(file) if Path(r["image"]).stem == str(number))
        want = model.class_probabilities(prediction)[0]  # type: ignore[operator]  # a method of this model only
        got = [float(row["p_cat"]), float(row["p_dog"])]
        assert got == pytest.approx(want.tolist(), abs=1e-5)


@pytest.mark.parametrize("task", ["segmentation", "votes"])
def test_an_overlay_tints_the_image_itself_where_its_cells_say_so(
    run: Run, workplace: Path, task: str
) -> None:
    model = train(run, task, np.uint8)

    result = run("predict", "run", path_of(task, 1), "--overlay", "--device", "cpu", "--seed", 3)

    assert result.exit_code == 0, result.output
    overlay = pixels_of(OUT / "1_overlay.png")
    reading = reading_of(model)
    assert reading is not None and overlay.shape == (*SIZE, 3)
    seen = seen_in_training(task, 1)[None]
    plane = torch.from_numpy(reading.planes(model.predict(seen, seed=3)))
    said = resize_nearest(plane[0], SIZE).numpy()
    silent = ~(said > 0) if task == "segmentation" else np.isnan(said)
    original = np.repeat(image(1, np.uint8)[..., None], 3, axis=-1)
    assert np.array_equal(overlay[silent], original[silent])
    assert not np.array_equal(overlay, original)


def test_a_state_is_taken_and_written_as_the_model_has_it(run: Run, workplace: Path) -> None:
    model = train(run, "segmentation")
    first = run("predict", "run", path_of("segmentation", 1), "--save-state", "--seed", 3)
    assert first.exit_code == 0, first.output
    state = np.load(OUT / "1_state.npy")
    want = model.predict(seen_in_training("segmentation", 1)[None], seed=3)
    np.testing.assert_allclose(np.moveaxis(state, -1, 0), want.output_array[0], atol=1e-5)

    again = run("predict", "run", OUT / "1_state.npy", "--output", "later", "--seed", 3)

    assert again.exit_code == 0, again.output
    assert pixels_of(Path("later/1_state_mask.png")).shape == SMALL


def test_an_array_is_prepared_like_a_file_of_its_type(run: Run, workplace: Path) -> None:
    model = train(run, "segmentation")
    np.save("a.npy", image(2, np.uint16))

    given = read_given(model, Path("a.npy"))

    assert torch.equal(given.image, seen_in_training("segmentation", 2))


def test_a_picture_of_other_channels_is_converted_before_it_is_prepared(
    run: Run, workplace: Path
) -> None:
    model = train(run, "segmentation", np.uint8, normalize="range")
    grey = image(2, np.uint8)
    Image.fromarray(np.repeat(grey[..., None], 3, axis=-1)).save("rgb.png")

    given = read_given(model, Path("rgb.png"))

    assert torch.equal(given.image, seen_in_training("segmentation", 2, normalize="range"))


# Animations


@pytest.mark.parametrize("task", TASKS)
def test_an_animation_runs_on_the_prepared_image_and_shows_its_own(
    run: Run, workplace: Path, task: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(run, task)
    seen: list[Any] = []

    class Spy(Animator):
        def __init__(self, nca: Any, seed: Tensor, *arguments: Any, **options: Any) -> None:
            seen.append(seed)
            super().__init__(nca, seed, *arguments, **options)
            seen.extend(self.frames)

    monkeypatch.setattr("ncalab.cli.jobs.animate.Animator", Spy)
    overlay = [] if task == "classes" else ["--overlay"]

    result = run("animate", "run", path_of(task, 1), "--output", "a.gif", "--steps", 3, *overlay)

    assert result.exit_code == 0, result.output
    assert torch.equal(seen[0][0], seen_in_training(task, 1))
    assert all(frame.shape == (*SIZE, 3) for frame in seen[1:])
    if task == "classes":
        # Not the 12 bits of the file, which would be black, but well exposed.
        shown = Preparation(normalize="percentile").apply(image(1, np.uint16))[0].clamp(0, 1)
        assert np.abs(seen[1][..., 0] / 255 - shown.numpy()).max() <= 0.5 / 255 + 1e-6
    with Image.open("a.gif") as file:
        assert len(list(ImageSequence.Iterator(file))) == 4


# Exports


@pytest.mark.parametrize("task", ["segmentation", "cascade"])
def test_a_program_says_how_to_prepare_what_it_takes(run: Run, workplace: Path, task: str) -> None:
    model = train(run, task)

    result = run("export", "run", "--output", "a.pt2", "--steps", 3)

    assert result.exit_code == 0, result.output
    assert "a.preparation.json: what has to be done to images before" in result.output
    told = json.loads(Path("a.preparation.json").read_text())
    preparation = Preparation.from_dict(told["preparation"])
    assert preparation == model.preparation and "12 x 10" in told["description"]
    extra = {"ncalab.preparation": ""}
    program = torch.export.load("a.pt2", extra_files=extra).module()
    assert Preparation.from_dict(json.loads(extra["ncalab.preparation"])) == preparation
    outputs = program(image=preparation.apply(image(1, np.uint16))[None], seed=torch.tensor(7))
    want = model.predict(seen_in_training(task, 1)[None], 3, seed=7).logits
    torch.testing.assert_close(outputs["logits"], want, rtol=0, atol=1e-5)


@pytest.mark.parametrize("task", ["segmentation", "classes", "depth"])
def test_an_onnx_file_says_how_to_prepare_what_it_takes(
    run: Run, workplace: Path, task: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    model = train(run, task)

    result = run("export", "run", "--output", "a.onnx")

    assert result.exit_code == 0, result.output
    session = onnxruntime.InferenceSession("a.onnx")
    about = session.get_modelmeta().custom_metadata_map
    preparation = Preparation.from_dict(json.loads(about["ncalab.preparation"]))
    assert preparation == model.preparation
    assert json.loads(Path("a.preparation.json").read_text())["preparation"] == (
        preparation.to_dict()
    )
    feed = {"image": preparation.apply(image(1, np.uint16))[None].numpy(), "seed": np.array(7)}
    outputs = dict(
        zip((o.name for o in session.get_outputs()), session.run(None, feed), strict=True)
    )
    want = model.predict(seen_in_training(task, 1)[None], seed=7).logits
    np.testing.assert_allclose(outputs["logits"], want, rtol=0, atol=1e-5)


def test_what_describes_a_program_is_not_replaced_unless_forced(run: Run, workplace: Path) -> None:
    train(run, "segmentation")
    Path("a.preparation.json").write_text("precious")

    refused = run("export", "run", "--output", "a.pt2", "--steps", 1)

    assert refused.exit_code == 2 and "got a.preparation.json" in refused.stderr
    assert Path("a.preparation.json").read_text() == "precious" and not Path("a.pt2").exists()
    assert run("export", "run", "--output", "a.pt2", "--steps", 1, "--force").exit_code == 0


def test_a_page_starts_from_the_prepared_image(
    run: Run, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ncalab.viz

    train(run, "segmentation")
    seen: list[Tensor] = []
    export_html = ncalab.viz.export_html

    def spy(model: Any, path: Any, start: Tensor, **options: Any) -> None:
        seen.append(start)
        export_html(model, path, start, **options)

    monkeypatch.setattr(ncalab.viz, "export_html", spy)

    result = run(*("export", "run", "--output", "a.html", "--image", path_of("segmentation", 1)))

    assert result.exit_code == 0, result.output
    assert torch.equal(seen[0][0], seen_in_training("segmentation", 1))
    page = Path("a.html").read_text()
    assert '"rows": 12, "columns": 10' in page and '"resize": [12, 10]' in page


# What is told


@pytest.mark.parametrize("task", TASKS)
def test_info_says_how_images_are_prepared(run: Run, workplace: Path, task: str) -> None:
    model = train(run, task)

    assert model.preparation is not None
    assert f"images           {model.preparation.describe()}\n" in run("info", "run").output
    data = json.loads(run("info", "run", "--json").output)
    assert data["preparation"] == model.preparation.to_dict()
    assert "preparation" not in data["configuration"]
    assert data["history"]["decided_by"] == model.validation_metric


def test_a_model_that_does_not_tell_says_so(
    run: Run, workplace: Path, segmentation: AbstractNCAModel
) -> None:
    segmentation.save_pretrained("old")
    Image.fromarray(image(1, np.uint8)).save("a.png")

    predicted = run("predict", "old", "a.png")
    animated = run("animate", "old", "a.png", "--output", "a.gif", "--steps", 1)
    exported = run("export", "old", "--output", "a.pt2", "--steps", 1)

    for result in (predicted, animated, exported):
        assert result.exit_code == 0, result.output
        assert "old: does not say how its training prepared images; they are taken as" in (
            result.stderr
        )
    assert pixels_of(OUT / "a_mask.png").shape == SIZE
    assert "images           not told: images are taken as they are" in run("info", "old").output
    assert json.loads(run("info", "old", "--json").output)["preparation"] is None
    assert not Path("a.preparation.json").exists()


def test_a_transform_that_is_not_repeated_is_told_of(
    run: Run, workplace: Path, segmentation: AbstractNCAModel
) -> None:
    segmentation.preparation = Preparation(channels=3, transform="Compose")
    segmentation.save_pretrained("weights")
    Image.fromarray(image(1, np.uint8)).save("a.png")

    result = run("predict", "weights", "a.png")

    assert "weights: its training also had the transform Compose, which is not" in result.stderr


def test_mirroring_is_nothing_to_repeat(run: Run, workplace: Path) -> None:
    model = train(run, "segmentation", flip=True)

    assert model.preparation is not None and model.preparation.transform is None


def test_a_growing_run_says_nothing_of_images_and_premultiplies(
    run: Run, workplace: Path, picture: Path
) -> None:
    small = ["--size", 6, "--padding", 1, "--hidden", 2, "--max-steps", 4, "--epochs", 1]
    assert run("grow", picture, *small, "--output", "run").exit_code == 0
    model = AbstractNCAModel.from_pretrained("run/pretrained")

    assert model.preparation == Preparation(channels=4, premultiply=True)
    assert run("predict", "run").stderr == ""
    half = np.full((3, 3, 4), (200, 100, 0, 127), np.uint8)
    Image.fromarray(half).save("half.png")
    given = read_given(model, Path("half.png"))
    opacity = 127 / 255
    want = [200 / 255 * opacity, 100 / 255 * opacity, 0, opacity]
    assert given.image[:, 1, 1].tolist() == pytest.approx(want, abs=1e-6)


def test_a_picture_to_grow_is_not_normalised_and_the_reason_is_said(
    run: Run, workplace: Path, picture: Path
) -> None:
    config = {
        "device": "cpu",
        "output": "run",
        "model": {"class": "GrowingNCAModel"},
        "data": {"class": "GrowingNCADataset", "image": str(picture), "normalize": "range"},
    }
    Path("config.json").write_text(json.dumps(config))

    result = run("train", "config.json")

    assert result.exit_code == 2
    assert "data.normalize must be left out for GrowingNCADataset, got 'range': the picture" in (
        result.stderr
    )


# The values of images


def contrast(dtype: Any) -> None:
    """Discs on noise, 400 to 1600 where there are 16 bits."""
    for number in range(10):
        rng = np.random.default_rng(number)
        rows, columns = np.ogrid[:24, :24]
        w, h = rng.integers(7, 17, 2)
        disc = np.hypot(rows - w, columns - h) < 6
        values = (0.3 + 0.4 * disc + rng.normal(0, 0.04, disc.shape)).clip(0, 1)
        pixels = 400 + 1200 * values if dtype == np.uint16 else 255 * values
        for folder, array in (("images", pixels.astype(dtype)), ("masks", disc)):
            Path("data", folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(f"data/{folder}/{number}.png")


def learn(run: Run, **data: Any) -> tuple[float, Any]:
    config = config_of("segmentation", resize=[24, 24], **data)
    config["model"] |= {"hidden_size": 16, "num_hidden_channels": 4}
    config["trainer"] |= {"max_epochs": 6, "lr": 0.02}
    config["split"] = {"validation": 0.3}
    Path("config.json").write_text(json.dumps(config))
    result = run("train", "config.json", "--force")
    assert result.exit_code == 0, result.output
    return float(json.loads(Path("run/history.json").read_text())["best_accuracy"]), result


def test_twelve_bits_in_sixteen_learn_like_eight(
    run: Run, workplace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    contrast(np.uint16)

    learned, _ = learn(run)
    assert learned > 0.8 and not caplog.records
    forgotten, _ = learn(run, normalize="none")

    assert forgotten < 0.2
    told = [record.getMessage() for record in caplog.records]
    assert "images of data/images use under a tenth of their range" in told[0]
    assert any("validation dice has stayed at 0" in text for text in told[1:])


@pytest.mark.parametrize("kind", ["range", "percentile", "standardize"])
def test_each_normalisation_lets_them_learn(run: Run, workplace: Path, kind: str) -> None:
    contrast(np.uint16)

    assert learn(run, normalize=kind)[0] > 0.8


def test_an_unknown_normalisation_is_named(run: Run, workplace: Path) -> None:
    write_data("segmentation", np.uint8)
    Path("config.json").write_text(json.dumps(config_of("segmentation", normalize="loud")))

    result = run("train", "config.json")

    assert result.exit_code == 2
    assert "data.normalize must be one of 'auto', 'range', 'percentile'" in result.stderr


# Undefined metrics


def test_a_metric_without_a_value_is_undefined_in_every_line(run: Run, workplace: Path) -> None:
    write_data("classes", np.uint8)
    config = config_of("classes")
    config["model"]["validation_metric"] = "auroc"
    config["split"] = {"file": "folds.json"}
    # One class only to validate on: no curve.
    Path("folds.json").write_text(json.dumps([{"train": ["0", "1", "3", "4"], "val": ["2"]}]))
    Path("config.json").write_text(json.dumps(config))

    result = run("train", "config.json")

    assert result.exit_code == 0, result.output
    assert "best_auroc=undefined epoch=none" in result.output
    assert "no best model could be chosen: auroc was undefined after every epoch" in result.stderr
    assert "best auroc  undefined, in every epoch" in run("info", "run").output
    told = json.loads(run("info", "run", "--json").output)["history"]
    assert told["best"] is None and told["best_epoch"] == 0
    assert json.loads(Path("run/history.json").read_text())["best_accuracy"] is None
