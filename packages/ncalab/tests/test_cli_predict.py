import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_models import Run, Save, noise, shaken
from PIL import Image

from ncalab.core import AbstractNCAModel
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)
from ncalab.tasks.segmentation.prediction import mask_of
from ncalab.viz import draw_segmentation_overlay

OUT = Path("predictions")


def tensor(pixels: np.ndarray) -> torch.Tensor:
    """Return pixels as a batch of one."""
    whc = pixels if pixels.ndim == 3 else pixels[..., None]
    return torch.from_numpy(np.moveaxis(whc, -1, 0).astype(np.float32) / 255)[None]


def pixels_of(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.array(image)


def predict(run: Run, *arguments: object, code: int = 0) -> str:
    result = run("predict", *arguments, "--device", "cpu")
    assert result.exit_code == code, result.output
    return result.output


def test_masks_are_those_of_the_library_whatever_else_is_in_the_call(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    images = {name: noise(Path(f"{name}.png"), 9, 7, 3, seed=n) for n, name in enumerate("abc")}
    images["d"] = noise(Path("d.png"), 6, 11, 3, seed=9)

    output = predict(run, save(segmentation), *(f"{name}.png" for name in images), "--seed", 4)

    for name, pixels in images.items():
        want = mask_of(segmentation.predict(tensor(pixels), seed=4).logits)[0].numpy()
        assert 0 < want.mean() < 1
        assert np.array_equal(pixels_of(OUT / f"{name}_mask.png"), 255 * want)
        assert f"{name}.png: foreground {want.mean():.1%}" in output


def test_several_classes_are_the_indices_of_a_palette(run: Run, save: Save) -> None:
    model = shaken(
        SegmentationNCAModel(
            torch.device("cpu"), 1, 2, num_classes=4, hidden_size=8, inference_timesteps=3
        )
    )
    image = noise(Path("a.png"), 8, 8)

    predict(run, save(model), "a.png")

    mask = pixels_of(OUT / "a_mask.png")
    assert np.array_equal(mask, mask_of(model.predict(tensor(image), seed=1337).logits)[0].numpy())
    with Image.open(OUT / "a_mask.png") as file:
        assert file.mode == "P" and len(set(file.convert("RGB").get_flattened_data())) == len(
            np.unique(mask)
        )


def test_an_overlay_tints_the_image_where_the_mask_is(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    image = noise(Path("a.png"), 8, 8, 3)

    predict(run, save(segmentation), "a.png", "--overlay")

    mask = pixels_of(OUT / "a_mask.png") > 0
    want = draw_segmentation_overlay(image, mask, "dark")
    overlay = pixels_of(OUT / "a_overlay.png")
    assert np.abs(overlay.astype(int) - want).max() <= 1
    assert np.array_equal(overlay[~mask], image[~mask])


def test_a_cascade_predicts_like_in_the_library(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    cascade = CascadeNCA(segmentation, [2, 1], [3, 2])
    image = noise(Path("a.png"), 9, 8, 3)

    predict(run, save(cascade), "a.png")

    want = mask_of(cascade.predict(tensor(image), seed=1337).logits)[0].numpy()
    assert np.array_equal(pixels_of(OUT / "a_mask.png"), 255 * want)


@pytest.mark.parametrize("tile", ["4", "auto"])
def test_bands_of_rows_give_the_same_mask(
    run: Run, save: Save, segmentation: SegmentationNCAModel, tile: str
) -> None:
    noise(Path("a.png"), 16, 8, 3)
    weights = save(segmentation)

    predict(run, weights, "a.png", "--output", "whole")
    predict(run, weights, "a.png", "--output", "bands", "--tile", tile)

    whole, bands = (pixels_of(Path(name, "a_mask.png")) for name in ("whole", "bands"))
    assert np.array_equal(whole, bands)


def test_padding_noise_is_that_of_each_image_alone(run: Run, save: Save) -> None:
    model = shaken(
        SegmentationNCAModel(
            torch.device("cpu"), 1, 3, pad_noise=True, hidden_size=8, inference_timesteps=3
        )
    )
    images = [noise(Path(f"{n}.png"), 8, 8, seed=n) for n in range(3)]

    predict(run, save(model), "0.png", "1.png", "2.png")

    for number, image in enumerate(images):
        want = mask_of(model.predict(tensor(image), seed=1337).logits)[0].numpy()
        assert np.array_equal(pixels_of(OUT / f"{number}_mask.png"), 255 * want)


def test_classes_go_to_a_table_with_all_probabilities(
    run: Run, save: Save, classification: ClassificationNCAModel
) -> None:
    images = [noise(Path(f"scans/{n}.png"), 8, 8, seed=n) for n in range(3)]

    output = predict(run, save(classification), "scans", "--seed", 2)

    with (OUT / "classes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == [str(Path("scans", f"{n}.png")) for n in range(3)]
    for row, image in zip(rows, images, strict=True):
        want = classification.classify(tensor(image), seed=2)[0]
        got = [float(row[f"p_{name}"]) for name in ("cat", "dog", "owl")]
        assert got == pytest.approx(want.tolist(), abs=1e-5)
        assert row["class"] == str(int(want.argmax()))
        assert row["name"] == ["cat", "dog", "owl"][int(want.argmax())]
        assert f"{row['name']} {want.max():.1%}" in output


def test_depths_are_exact_in_an_array_and_counts_in_a_png(
    run: Run, save: Save, depth: DepthNCAModel
) -> None:
    image = noise(Path("a.png"), 8, 6, 3)
    want = depth.interpret(depth.predict(tensor(image), seed=1337))[0, 0].numpy()
    weights = save(depth)

    predict(run, weights, "a.png")
    predict(run, weights, "a.png", "--output", "png", "--depth-format", "png")

    np.testing.assert_allclose(np.load(OUT / "a_depth.npy"), want, atol=1e-5)
    counts = pixels_of(Path("png/a_depth.png"))
    assert counts.dtype == np.uint16
    np.testing.assert_allclose(counts / 1000, np.maximum(want, 0), atol=6e-4)
    color = pixels_of(OUT / "a_depth_color.png")
    assert color.shape == (8, 6, 3)
    # viridis: the farther, the brighter.
    low, high = (color[np.unravel_index(at, want.shape)] for at in (want.argmin(), want.argmax()))
    assert high.sum() > low.sum()


def test_a_depth_beyond_16_bits_says_which_unit_would_do(
    run: Run, save: Save, depth: DepthNCAModel
) -> None:
    noise(Path("a.png"), 8, 6, 3)

    output = predict(
        run, save(depth), "a.png", "--depth-format", "png", "--depth-unit", 1e-9, code=2
    )

    assert "--depth-unit must be at least" in output and "a.png" in output


def test_a_growing_model_grows_from_its_seed(
    run: Run, save: Save, growing: GrowingNCAModel
) -> None:
    predict(run, save(growing), "--size", 9, 7, "--steps", 6, "--save-state")

    want = growing.predict(growing.make_seed(9, 7), 6, seed=1337)
    state = np.load(OUT / "seed_state.npy")
    np.testing.assert_allclose(np.moveaxis(state, -1, 0), want.output_array[0], atol=1e-5)
    grown = pixels_of(OUT / "seed_grown.png").astype(float) / 255
    image = np.clip(np.moveaxis(want.image_channels_np[0], 0, -1), 0, 1)
    assert grown.shape == (9, 7, 4)
    np.testing.assert_allclose(grown[..., 3], image[..., 3], atol=0.01)
    # The file's colours are not multiplied by opacity, as other programs expect.
    seen = image[..., 3] > 0.2
    colors = np.minimum(grown[..., :3], 1) * grown[..., 3:]
    np.testing.assert_allclose(
        colors[seen], np.minimum(image[..., :3], image[..., 3:])[seen], atol=0.02
    )


def test_a_growing_model_goes_on_from_a_state(
    run: Run, save: Save, growing: GrowingNCAModel
) -> None:
    weights = save(growing)
    predict(run, weights, "--size", 9, 7, "--save-state")

    predict(run, weights, "predictions/seed_state.npy", "--output", "later", "--save-state")

    first = growing.predict(growing.make_seed(9, 7), seed=1337).output_image
    want = growing.predict(first, seed=1337).output_array[0]
    state = np.load("later/seed_state_state.npy")
    np.testing.assert_allclose(np.moveaxis(state, -1, 0), want, rtol=1e-4, atol=1e-4)


def test_a_broken_image_is_named_and_the_others_are_done(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    for name in "ac":
        noise(Path(f"{name}.png"), 8, 8, 3)
    Path("b.png").write_bytes(b"broken")
    noise(Path("d.png"), 8, 8)
    np.save("e.npy", np.zeros((8, 8, 5), np.float32))

    result = run("predict", save(segmentation), *(f"{n}.png" for n in "abcd"), "e.npy")

    assert result.exit_code == 2
    errors = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(errors) == 2 and "b.png" in errors[0] and "e.npy must have 3 channels" in errors[1]
    assert sorted(file.name for file in OUT.iterdir()) == ["a_mask.png", "c_mask.png", "d_mask.png"]


def test_results_are_replaced_only_if_forced(
    run: Run, save: Save, segmentation: SegmentationNCAModel
) -> None:
    noise(Path("a.png"), 8, 8, 3)
    noise(Path("b.png"), 8, 8, 3)
    OUT.mkdir()
    (OUT / "b_mask.png").write_text("precious")
    weights = save(segmentation)

    output = predict(run, weights, "a.png", "b.png", code=2)

    assert "--output must not hold results yet, got predictions/b_mask.png" in output
    assert (OUT / "b_mask.png").read_text() == "precious" and not (OUT / "a_mask.png").exists()
    predict(run, weights, "a.png", "b.png", "--force")
    assert pixels_of(OUT / "b_mask.png").shape == (8, 8)


def test_conversions_of_channels_are_said(
    run: Run, save: Save, segmentation: SegmentationNCAModel, classification: ClassificationNCAModel
) -> None:
    grey = noise(Path("grey.png"), 8, 8)
    color = noise(Path("color.png"), 8, 8, 3)

    said = run("predict", save(segmentation), "grey.png").stderr
    assert "grey.png: has 1 channels, the model takes 3; taken grey in all of" in said
    want = segmentation.predict(tensor(np.stack([grey] * 3, axis=-1)), seed=1337)
    assert np.array_equal(pixels_of(OUT / "grey_mask.png"), 255 * mask_of(want.logits)[0].numpy())

    said = run("predict", save(classification), "color.png").stderr
    assert "color.png: has 3 channels, the model takes 1; taken as grey" in said
    luma = tensor(np.asarray(Image.fromarray(color).convert("L")))
    with (OUT / "classes.csv").open(newline="") as file:
        row = next(csv.DictReader(file))
    want_p = classification.classify(luma, seed=1337)[0, 0].item()
    assert float(row["p_cat"]) == pytest.approx(want_p, abs=1e-5)


def test_sixteen_bits_are_not_cut_to_eight(
    run: Run, save: Save, classification: ClassificationNCAModel
) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (8, 8), np.uint16)
    Image.fromarray(values).save("deep.png")

    predict(run, save(classification), "deep.png", "--save-state")

    state = np.load(OUT / "deep_state.npy")
    np.testing.assert_allclose(state[..., 0], values / 65535, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a/x.png", "b/x.png"], "IMAGES must have names of their own, got a/x.png and b/x.png"),
        ([], "IMAGES must be given for a model of segmentation"),
        (["a/x.png", "--size", "3", "3"], "--size must be left out with images"),
        (["empty"], "IMAGES must hold at least one image, got the folder empty"),
        (
            ["a/x.png", "--tile", "none"],
            "'--tile': must be a number of rows of at least 1, or auto, got 'none'",
        ),
        (["a/x.png", "--output", "file"], "'--output'"),
    ],
)
def test_what_cannot_be_done_is_said_before_any_work(
    run: Run,
    save: Save,
    segmentation: SegmentationNCAModel,
    arguments: list[str],
    message: str,
) -> None:
    for folder in "ab":
        noise(Path(folder, "x.png"), 4, 4, 3)
    Path("empty").mkdir()
    Path("file").write_text("")

    result = run("predict", save(segmentation), *arguments)

    assert result.exit_code == 2 and message in result.stderr
    assert not OUT.exists()


def test_an_overlay_is_refused_where_cells_say_nothing(
    run: Run, save: Save, classification: ClassificationNCAModel, depth: DepthNCAModel
) -> None:
    noise(Path("a.png"), 8, 8, 3)
    models: list[AbstractNCAModel] = [classification, depth]

    for model in models:
        output = predict(run, save(model), "a.png", "--overlay", code=2)
        assert "--overlay must be left out" in output


def test_the_votes_of_pixels_can_be_seen(run: Run, save: Save) -> None:
    model = shaken(
        ClassificationNCAModel(
            torch.device("cpu"), 1, 3, 4, hidden_size=8, pixel_wise_loss=True, inference_timesteps=3
        )
    )
    noise(Path("a.png"), 8, 8)

    predict(run, save(model), "a.png", "--overlay")

    assert len(np.unique(pixels_of(OUT / "a_overlay.png").reshape(-1, 3), axis=0)) > 2
    assert (OUT / "classes.csv").read_text().startswith("image,class,name,p_0,p_1,p_2,p_3\na.png,")


@pytest.mark.parametrize("name", ["best_model.safetensors", "last_model.safetensors"])
def test_a_training_run_is_its_best_weights_else_the_last(
    run: Run, workplace: Path, segmentation: SegmentationNCAModel, name: str
) -> None:
    noise(Path("a.png"), 8, 8, 3)
    other = SegmentationNCAModel(torch.device("cpu"), inference_timesteps=4)
    other.save("run/last_model.safetensors")
    segmentation.save(Path("run", name))

    predict(run, "run", "a.png")

    assert pixels_of(OUT / "a_mask.png").max() == 255
