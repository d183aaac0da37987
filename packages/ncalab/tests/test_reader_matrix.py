"""Command line and estimators with every odd file: the right values, or an error that names it.

The readers of the tasks are tried with the same files in the tests of ``ncalab-tasks``.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_models import Run, Save, noise
from odd_files import BAD, GREY, ODD, Array, Bad, Odd
from PIL import Image

from ncalab.cli.jobs.animate import start_of
from ncalab.cli.jobs.given import read_given
from ncalab.core import AbstractNCAModel
from ncalab.estimators import NCAClassifier, NCASegmenter
from ncalab.tasks import (
    GrowingNCAModel,
    SegmentationNCADataset,
    SegmentationNCAModel,
    read_images,
    read_mask,
)
from ncalab.tasks.classification.folders import ClassFolders, read_class_folders
from ncalab.tasks.growing.picture import load_target

Read = Callable[[Path, int | None], Array]

# Of 8 bits, after a conversion of channels that rounds.
HALF_A_STEP = 0.5001 / 255
CPU = torch.device("cpu")


def model(channels: int) -> AbstractNCAModel:
    return SegmentationNCAModel(CPU, num_image_channels=channels, num_hidden_channels=2)


def last(tensor: torch.Tensor) -> Array:
    return np.moveaxis(tensor.numpy(), 0, -1)


def predicted_grey(path: Path, page: int | None) -> Array:
    return last(read_given(model(1), path, page=page).image)


def predicted_color(path: Path, page: int | None) -> Array:
    return last(read_given(model(3), path, page=page).image)


def predicted_opacity(path: Path, page: int | None) -> Array:
    return last(read_given(model(4), path, page=page).image)


def animated(path: Path, page: int | None) -> Array:
    return last(start_of(model(3), path, path, None, page=page).image)


def grown_on(path: Path, page: int | None) -> Array:
    growing = GrowingNCAModel(CPU, num_hidden_channels=2)
    return last(read_given(growing, path, page=page).image)


def target(path: Path, page: int | None) -> Array:
    # As many cells as pixels: nothing is scaled.
    image = load_target(path, max(GREY.shape), 0, page=page)
    return image.astype(np.float32) / 255


def class_folders(path: Path, page: int | None) -> Array:
    (path.parent.parent / "other").mkdir()
    (path.parent.parent / "other" / path.name).write_bytes(path.read_bytes())
    where = ClassFolders(str(path.parent.parent), normalize="none", page=page)
    dataset, _ = read_class_folders(where)
    return last(dataset[0][0])


def estimator(path: Path, page: int | None) -> Array:
    images = read_images([path, path], page=page)
    fitted = NCAClassifier(steps=1, epochs=1, avg_pool_size=1, standardize=False, random_state=0)
    fitted.fit(images, [0, 1])
    return last(fitted.as_tensor(images)[0])


def same(want: Array) -> Array:
    return want


def premultiplied(want: Array) -> Array:
    full = four(want)
    return np.concatenate([full[..., :3] * full[..., 3:], full[..., 3:]], axis=-1)


def color(want: Array) -> Array:
    return premultiplied(want)[..., :3]


def grey(want: Array) -> Array:
    if want.shape[2] == 1:
        return want
    return np.asarray((color(want) * (0.299, 0.587, 0.114)).sum(axis=-1, keepdims=True))


def four(want: Array) -> Array:
    rgb = np.broadcast_to(want[..., :3], (*want.shape[:2], 3))
    opacity = want[..., 3:] if want.shape[2] == 4 else np.ones_like(want[..., :1])
    return np.concatenate([rgb, opacity], axis=-1)


def on_canvas(want: Array) -> Array:
    """Return RGBA in the middle of a square; transparent black all around."""
    rows, columns = want.shape[:2]
    canvas = np.zeros((7, 7, 4))
    top, left = (7 - rows) // 2, (7 - columns) // 2
    canvas[top : top + rows, left : left + columns] = four(want)
    return canvas


READERS: list[tuple[Read, Callable[[Array], Array]]] = [
    (predicted_grey, grey),
    (predicted_color, color),
    (predicted_opacity, four),
    (animated, color),
    (grown_on, premultiplied),
    (target, on_canvas),
    (class_folders, same),
    (estimator, same),
]


@pytest.mark.parametrize("odd", ODD, ids=str)
@pytest.mark.parametrize(("read", "expected"), READERS, ids=lambda each: each.__name__)
def test_command_line_and_estimators_get_the_same_values_from_every_file(
    tmp_path: Path, odd: Odd, read: Read, expected: Callable[[Array], Array]
) -> None:
    got = read(odd.write(tmp_path / "data"), odd.page)

    want = expected(odd.want)
    assert got.shape == want.shape
    tolerance = 1e-6 if read in (class_folders, estimator, grown_on) else HALF_A_STEP
    if read is target:
        # 16 bits are cut to 8, and what is transparent has no colour.
        tolerance = 1 / 255
        shown = want[..., 3:] > 0
        got, want = got * shown, want * shown
    np.testing.assert_allclose(got, want, atol=tolerance)


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize("read", [read for read, _ in READERS], ids=lambda each: each.__name__)
def test_command_line_and_estimators_name_every_file_that_they_cannot_read_and_why(
    tmp_path: Path, bad: Bad, read: Read
) -> None:
    path = bad.write(tmp_path / "data")

    with pytest.raises(ValueError, match=r".") as caught:
        read(path, None)

    assert path.name in str(caught.value) and bad.reason in str(caught.value)


def write_all(folder: Path, name: str, arrays: list[Array]) -> list[Path]:
    files = [folder / f"{name}{number}.png" for number in range(len(arrays))]
    for file, array in zip(files, arrays, strict=True):
        Image.fromarray(array).save(file)
    return files


def test_depths_of_files_are_no_difference_to_an_estimator(tmp_path: Path) -> None:
    pixels = list(np.random.default_rng(0).integers(0, 256, (6, 8, 8), np.uint8))
    deep = [image.astype(np.uint16) * 257 for image in pixels]
    eight = read_images(write_all(tmp_path, "eight", pixels))
    mixed = read_images(write_all(tmp_path, "mixed", deep[:3] + pixels[3:]))
    masks = write_all(tmp_path, "mask", [image > 128 for image in pixels])

    segmenter = NCASegmenter(steps=2, epochs=2, random_state=0)
    segmenter.fit(eight, np.stack([read_mask(file) for file in masks]))

    torch.testing.assert_close(
        torch.from_numpy(segmenter.predict_proba(mixed)),
        torch.from_numpy(segmenter.predict_proba(eight)),
        atol=1e-5,
        rtol=0,
    )


# The commands themselves


@pytest.fixture
def pages(workplace: Path) -> Path:
    """A TIFF of two pages, black and white, 8 rows and 10 columns."""
    first, second = (Image.new("RGB", (10, 8), shade) for shade in ("black", "white"))
    first.save(workplace / "pages.tif", save_all=True, append_images=[second])
    second.save(workplace / "white.png")
    return workplace / "pages.tif"


def test_predict_reads_the_page_that_is_asked_for(
    run: Run, save: Save, segmentation: SegmentationNCAModel, pages: Path
) -> None:
    weights = save(segmentation)

    refused = run("predict", weights, pages)
    run("predict", weights, pages, "--page", 1, "--overlay")
    run("predict", weights, "white.png", "--overlay")

    assert refused.exit_code == 2
    assert "pages.tif must hold one image, got 2 pages" in refused.stderr
    assert "--page" in refused.stderr
    for kind in ("mask", "overlay"):
        got, want = (Path("predictions", f"{name}_{kind}.png") for name in ("pages", "white"))
        assert got.read_bytes() == want.read_bytes()


@pytest.mark.parametrize(("command", "output"), [("animate", "a.gif"), ("export", "a.html")])
def test_animate_and_export_read_the_page_that_is_asked_for(
    run: Run, save: Save, segmentation: SegmentationNCAModel, pages: Path, command: str, output: str
) -> None:
    weights = save(segmentation)
    option = [] if command == "animate" else ["--image"]

    refused = run(command, weights, *option, pages, "--output", output)
    first = run(command, weights, *option, pages, "--page", 1, "--output", output)
    run(command, weights, *option, "white.png", "--output", f"white_{output}")

    assert refused.exit_code == 2 and "got 2 pages" in refused.stderr
    assert first.exit_code == 0, first.output
    assert Path(output).read_bytes() == Path(f"white_{output}").read_bytes()


def test_grow_reads_the_page_that_is_asked_for(run: Run, pages: Path) -> None:
    options = ["--size", 6, "--padding", 1, "--epochs", 1, "--max-steps", 4, "--output", "run"]

    refused = run("grow", pages, *options)
    grown = run("grow", pages, "--page", 1, *options)
    resumed = run("grow", pages, "--page", 0, "--resume", *options)

    assert refused.exit_code == 2 and "got 2 pages" in refused.stderr
    assert grown.exit_code == 0, grown.output
    assert resumed.exit_code == 2 and "must be the picture of the run" in resumed.stderr


SETTINGS = """
[model]
class = "SegmentationNCAModel"
num_hidden_channels = 2
hidden_size = 8
training_timesteps = 2
inference_timesteps = 2
[data]
class = "SegmentationNCADataset"
path = "data"
[trainer]
max_epochs = 1
"""


@pytest.fixture
def settings(workplace: Path) -> Path:
    """Settings for two pairs of 8 rows and 10 columns, images of two pages."""
    for name in "ab":
        mask = noise(workplace / "data" / "masks" / f"{name}.png", 8, 10) > 99
        Image.fromarray(mask).save(workplace / "data" / "masks" / f"{name}.png")
        first, second = (Image.new("RGB", (10, 8), shade) for shade in ("black", "white"))
        (workplace / "data" / "images").mkdir(exist_ok=True)
        file = workplace / "data" / "images" / f"{name}.tif"
        first.save(file, save_all=True, append_images=[second])
    (workplace / "a.toml").write_text(SETTINGS)
    return workplace / "a.toml"


def test_train_reads_the_page_of_the_settings(run: Run, settings: Path) -> None:
    refused = run("train", settings, "--device", "cpu")
    done = run("train", settings, "--set", "data.page=1", "--device", "cpu", "--output", "run")

    assert refused.exit_code == 2 and "got 2 pages" in refused.stderr
    assert done.exit_code == 0, done.output
    assert float(SegmentationNCADataset("data", page=1)[0][0].min()) == 1


def test_train_has_a_limit_of_pixels(run: Run, settings: Path) -> None:
    page = ["--set", "data.page=0", "--device", "cpu"]

    refused = run("train", settings, *page, "--set", "data.max_pixels=79")
    done = run("train", settings, *page, "--set", "data.max_pixels=80", "--short")

    assert refused.exit_code == 2 and "must have at most 79 pixels, got 8 x 10" in refused.stderr
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("command", ["predict", "animate", "export", "grow"])
def test_every_command_has_a_limit_of_pixels(
    run: Run, save: Save, segmentation: SegmentationNCAModel, pages: Path, command: str
) -> None:
    weights = save(segmentation)
    arguments = {
        "predict": ["predict", weights, "white.png"],
        "animate": ["animate", weights, "white.png", "--output", "a.gif"],
        "export": ["export", weights, "--image", "white.png", "--output", "a.html"],
        "grow": ["grow", "white.png", "--size", 4, "--epochs", 1, "--max-steps", 4],
    }[command]

    refused = run(*arguments, "--max-pixels", 79)

    assert refused.exit_code == 2
    assert "white.png must have at most 79 pixels, got 8 x 10; raise max_pixels" in refused.stderr
    assert run(*arguments, "--max-pixels", 80).exit_code == 0


def test_bands_of_rows_lift_the_limit_of_pixels(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    large = next(bad for bad in BAD if bad.name == "large.bmp").write(Path(), "large")
    weights = save(segmentation)

    whole = run("predict", weights, large)
    bands = run("predict", weights, large, "--tile", 8)
    limited = run("predict", weights, large, "--tile", 8, "--max-pixels", 99)

    assert "large.bmp must have at most 178,956,970 pixels, got 13400 x 13400" in whole.stderr
    # It holds less than it promises, which is found when it is decoded.
    assert "large.bmp cannot be read as an image: image file is truncated" in bands.stderr
    assert "large.bmp must have at most 99 pixels" in limited.stderr


def test_predict_does_all_of_a_folder_but_what_it_cannot_read(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    noise(Path("in/good.png"), 8, 10, 3)
    Path("in/._good.png").write_bytes(b"\0\5\x16\7")
    Path("in/.DS_Store").touch()
    named = [bad.write(Path("in"), f"bad{n}") for n, bad in enumerate(BAD)]
    read = [path for path in named if path.suffix not in (".nii", ".gz", ".dcm", ".svg")]

    result = run("predict", save(segmentation), "in")

    assert result.exit_code == 2
    assert [path.name for path in Path("predictions").iterdir()] == ["good_mask.png"]
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == len(read)
    for path, bad in zip(named, BAD, strict=True):
        if path in read:
            assert any(str(path) in line and bad.reason in line for line in errors), bad


def test_a_folder_of_another_format_says_what_to_do(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    Path("brains").mkdir()
    Path("brains/a.nii.gz").touch()

    result = run("predict", save(segmentation), "brains")

    assert result.exit_code == 2
    assert "got the folder brains; of a.nii.gz: NIfTI is not read; save its" in result.stderr


@pytest.mark.parametrize("stem", ["n" * 245, "ü" * 123])
def test_long_names_end_no_prediction_and_stay_apart(
    run: Run, save: Save, segmentation: SegmentationNCAModel, stem: str
) -> None:
    names = [stem, stem[:-1] + "x"]
    for seed, name in enumerate(names):
        noise(Path(f"{name}.png"), 8, 8, 3, seed=seed)
    weights = save(segmentation)

    result = run("predict", weights, *(f"{name}.png" for name in names), "--overlay")

    assert result.exit_code == 0, result.output
    written = sorted(Path("predictions").iterdir())
    assert len(written) == 4
    assert all(path.name.startswith(stem[:100]) for path in written)
    for name in names:
        line = next(line for line in result.stderr.splitlines() if line.startswith(name))
        cut = line.rpartition(" ")[2].removesuffix("*")
        assert Path("predictions", f"{cut}_mask.png") in written


def test_a_picture_of_a_long_name_can_be_grown(run: Run, workplace: Path, picture: Path) -> None:
    long = picture.rename(workplace / f"{'p' * 251}.png")

    result = run("grow", long, "--size", 4, "--epochs", 1, "--max-steps", 4)

    assert result.exit_code == 0, result.output
    folder = next(Path("runs").iterdir())
    assert len(list(folder.glob("ppp*.gif"))) == len(list(folder.glob("ppp*.html"))) == 1


# Paths


@pytest.fixture
def home(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder beside the one that is worked in."""
    folder = workplace.parent / f"{workplace.name}_home"
    folder.mkdir()
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(folder))
    return folder


def test_the_home_folder_is_found_in_settings(
    run: Run, home: Path, settings: Path, workplace: Path
) -> None:
    (workplace / "data").rename(home / "data")
    (home / "split.json").write_text(r'[{"train": ["images\\a.tif"], "val": ["C:\\x\\b.tif"]}]')
    settings.write_text(
        'output = "~/run"\n'
        + SETTINGS.replace('"data"', '"~/data"\npage = 0\nimages = "~/data/images"')
        + '[split]\nfile = "~/split.json"\n'
    )

    result = run("train", settings, "--device", "cpu")

    assert result.exit_code == 0, result.output
    assert (home / "run" / "history.json").is_file()
    assert not Path("~").exists()


def test_the_home_folder_is_found_in_arguments(
    run: Run, home: Path, save: Save, segmentation: SegmentationNCAModel
) -> None:
    save(segmentation).rename(home / "weights")
    noise(home / "a.png", 8, 8, 3)

    done = [
        run("predict", "~/weights", "~/a.png", "--output=~/masks"),
        run("animate", "~/weights", "~/a.png", "--output=~/a.gif"),
        run("export", "~/weights", "--image=~/a.png", "--output=~/a.html"),
        run("info", "~/weights"),
        run("grow", "~/a.png", "--size", 4, "--epochs", 1, "--max-steps", 4, "--output=~/run"),
    ]

    assert [result.exit_code for result in done] == [0] * 5
    assert (home / "masks" / "a_mask.png").is_file() and (home / "run" / "grow.json").is_file()
    assert not Path("~").exists()


def test_a_sample_under_two_names_does_not_train_and_validate(run: Run, settings: Path) -> None:
    Path("split.json").write_text(r'[{"train": ["a", "b"], "val": ["C:\\images\\b.tif"]}]')

    result = run("train", settings, "--set", "data.page=0", "--set", "split.file=split.json")

    assert result.exit_code == 2
    assert "split.file must name each sample to train on or to validate on" in result.stderr


# Folders of classes


@pytest.fixture
def classes(workplace: Path) -> Path:
    """Two classes of one grey image each, 4 rows and 4 columns, of 8 and of 16 bits."""
    for name, dtype, factor in (("cat", np.uint8, 1), ("dog", np.uint16, 257)):
        (workplace / "classes" / name).mkdir(parents=True)
        pixels = np.full((4, 4), 51, dtype) * dtype(factor)
        Image.fromarray(pixels).save(workplace / "classes" / name / "0.png")
    return workplace / "classes"


@pytest.mark.parametrize("resize", [None, (4, 4), (2, 3)])
def test_depths_mixed_in_class_folders_are_right_for_each_file(
    classes: Path, resize: tuple[int, int] | None
) -> None:
    where = ClassFolders(str(classes), normalize="none", resize=resize)
    dataset, _ = read_class_folders(where)

    for image, _ in (dataset[0], dataset[1]):
        torch.testing.assert_close(image, torch.full_like(image, 0.2), atol=1e-6, rtol=0)


def test_what_systems_hide_in_class_folders_is_no_class_and_no_image(classes: Path) -> None:
    (classes / "__MACOSX").mkdir()
    for name in ("cat/._0.png", "cat/.DS_Store", "dog/Thumbs.db", ".DS_Store", "__MACOSX/._cat"):
        (classes / name).write_bytes(b"\0\5\x16\7")

    dataset, names = read_class_folders(ClassFolders(str(classes)))

    assert names == ["cat", "dog"] and len(dataset) == 2


def test_floating_point_beyond_its_range_is_named(classes: Path) -> None:
    Image.fromarray(np.full((4, 4), 3.5, np.float32)).save(classes / "cat" / "1.tif")

    with pytest.raises(ValueError, match=r"1.tif must be in \[0, 1\], .* got 3.5 to 3.5"):
        read_class_folders(ClassFolders(str(classes), resize=(4, 4)))
    with pytest.raises(ValueError, match=r"in \[0, 1\] if it is floating point, got 3.5 to 3.5"):
        load_target(classes / "cat" / "1.tif", 4, 0)


def test_a_batch_may_hold_images_of_one_shown_size(run: Run, workplace: Path) -> None:
    exif = Image.Exif()
    exif[274] = 6
    for folder in ("images", "masks"):
        (workplace / "data" / folder).mkdir(parents=True)
    Image.new("RGB", (10, 8)).save("data/images/a.png")
    # Lies on its side.
    Image.new("RGB", (8, 10)).save("data/images/b.png", exif=exif)
    for name in "ab":
        mask = Image.new("L", (10, 8))
        mask.putpixel((0, 0), 255)
        mask.save(f"data/masks/{name}.png")
    Path("a.toml").write_text(SETTINGS)

    result = run("train", "a.toml", "--short", "--device", "cpu")

    assert result.exit_code == 0, result.output
