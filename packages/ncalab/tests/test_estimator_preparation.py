"""The preparation of images by an estimator is part of its model."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_models import Run
from numpy.typing import NDArray
from PIL import Image

from ncalab.core import AbstractNCAModel, Preparation
from ncalab.core.intensities import normalized
from ncalab.estimators import NCAClassifier, NCASegmenter

Array = NDArray[Any]

FAST: dict[str, Any] = {
    "num_hidden_channels": 6,
    "hidden_size": 8,
    "steps": 2,
    "epochs": 2,
    "learning_rate": 0.05,
    "random_state": 0,
}
KINDS = ["none", "range", "percentile", "standardize"]


def pictures(dtype: Any = np.uint8, low: int = 0, high: int = 256, channels: int = 1) -> Array:
    """Ten images of discs, shape ``(10, 12, 9, channels)``; ``masks`` says where they are."""
    drawn = np.random.default_rng(0).integers(low, high, (10, 12, 9, channels))
    bright = np.where(masks()[..., None], high - 1, drawn // 2 + low // 2)
    return bright.astype(dtype)


def masks() -> Array:
    rows, columns = np.ogrid[:12, :9]
    rest = np.arange(10)[:, None, None] % 4
    found: Array = np.hypot(rows - 4 - rest, columns - 4) < 3
    return found


def classes() -> Array:
    return np.arange(10) % 2


def fitted(kind: str, X: Array, **options: Any) -> NCAClassifier | NCASegmenter:  # noqa: N803 - scikit-learn's name
    estimator = {"classifier": NCAClassifier, "segmenter": NCASegmenter}[kind]
    y = classes() if kind == "classifier" else masks()
    trained: NCAClassifier | NCASegmenter = estimator(**{**FAST, **options}).fit(X, y)
    return trained


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
@pytest.mark.parametrize("normalize", KINDS)
@pytest.mark.parametrize("standardize", [True, False])
def test_the_model_knows_what_its_estimator_does_to_images(
    tmp_path: Path, kind: str, normalize: str, standardize: bool
) -> None:
    images = pictures(np.uint16, 400, 1600, channels=2)

    estimator = fitted(kind, images, normalize=normalize, standardize=standardize)
    estimator.save_pretrained(tmp_path)

    seen = estimator.as_tensor(images)
    model = AbstractNCAModel.from_pretrained(tmp_path)
    again = type(estimator).from_pretrained(tmp_path)
    for preparation in (estimator.model_.preparation, model.preparation):
        assert preparation is not None
        # Of files, that is of integers, as well.
        assert torch.equal(torch.stack([preparation.apply(image) for image in images]), seen)
    assert torch.equal(again.as_tensor(images), seen)
    assert np.array_equal(again.predict_proba(images), estimator.predict_proba(images))


@pytest.mark.parametrize("normalize", KINDS)
def test_images_are_normalised_and_then_standardised_by_the_mean_of_all(normalize: Any) -> None:
    images = pictures(np.uint16, 400, 1600, channels=2)

    estimator = fitted("segmenter", images, normalize=normalize)

    each = [image if normalize == "none" else normalized(image, normalize) for image in images]
    values = np.stack(each).astype(np.float64)
    np.testing.assert_allclose(estimator.mean_, values.mean(axis=(0, 1, 2)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(estimator.scale_, values.std(axis=(0, 1, 2)), rtol=1e-4)
    want = (values - estimator.mean_) / estimator.scale_
    np.testing.assert_allclose(estimator.as_tensor(images).permute(0, 2, 3, 1), want, atol=1e-4)


def test_images_of_before_scaled_to_the_unit_range_are_those_of_files(tmp_path: Path) -> None:
    pixels = pictures()

    estimator = fitted("segmenter", pixels / 255)

    preparation = estimator.model_.preparation
    assert preparation is not None and not preparation.raw
    from_files = torch.stack([preparation.apply(image) for image in pixels])
    torch.testing.assert_close(from_files, estimator.as_tensor(pixels / 255), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["classifier", "segmenter"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_command_line_predicts_from_files_what_the_estimator_does(
    run: Run, workplace: Path, kind: str, dtype: Any
) -> None:
    images = pictures(dtype, 40, 250)
    estimator = fitted(kind, images, epochs=6)
    estimator.save_pretrained("weights")
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(f"{number}.png")

    result = run("predict", "weights", *(f"{n}.png" for n in range(10)), "--seed", estimator.seed_)

    assert result.exit_code == 0, result.output
    assert "does not say" not in result.stderr
    if kind == "segmenter":
        predicted = estimator.predict(images)
        assert 0 < predicted.mean() < 1
        for number in range(10):
            with Image.open(f"predictions/{number}_mask.png") as file:
                assert np.array_equal(np.array(file) > 0, predicted[number])
    else:
        with Path("predictions/classes.csv").open(newline="") as file:
            found = [int(row["class"]) for row in csv.DictReader(file)]
        assert found == estimator.predict(images).tolist()


def test_a_folder_of_before_is_read_with_its_statistics(tmp_path: Path) -> None:
    images = pictures()
    estimator = fitted("classifier", images)
    want = estimator.predict_proba(images)
    estimator.model_.preparation = None
    estimator.save_pretrained(tmp_path)
    described = json.loads((tmp_path / "estimator.json").read_text())
    described["parameters"].pop("normalize")
    (tmp_path / "estimator.json").write_text(json.dumps(described))

    again = NCAClassifier.from_pretrained(tmp_path)

    assert again.model_.preparation == Preparation(
        raw=True, mean=tuple(estimator.mean_), scale=tuple(estimator.scale_)
    )
    assert np.array_equal(again.predict_proba(images), want)


def test_a_warm_start_goes_on_with_the_preparation_of_before() -> None:
    estimator = fitted("segmenter", pictures(), warm_start=True)
    before = estimator.model_.preparation

    estimator.fit(pictures() // 2, masks())

    assert estimator.model_.preparation == before


def test_rows_of_a_table_have_nothing_to_be_normalised_by() -> None:
    table = np.random.default_rng(0).random((10, 5))

    with pytest.raises(ValueError, match="normalize must be 'none' for samples of a single cell"):
        NCAClassifier(**FAST, normalize="range").fit(table, classes())


@pytest.mark.parametrize("normalize", ["auto", "loud", None])
def test_another_normalisation_is_refused(normalize: Any) -> None:
    with pytest.raises(ValueError, match="normalize must be one of range, percentile, standard"):
        fitted("classifier", pictures(), normalize=normalize)


@pytest.mark.parametrize(
    ("images", "options", "said"),
    [
        (pictures() / 4000, {"standardize": False}, "images of X use under a tenth of their"),
        (pictures(np.uint16, 400, 1600), {"standardize": False}, "far beyond [0, 1]"),
        (pictures() / 4000, {"standardize": False, "normalize": "range"}, ""),
        (pictures() / 4000, {}, ""),
    ],
)
def test_images_without_contrast_are_told_of_where_nothing_is_done_about_it(
    caplog: pytest.LogCaptureFixture, images: Array, options: dict[str, Any], said: str
) -> None:
    fitted("segmenter", images, epochs=1, **options)

    told = [record.getMessage() for record in caplog.records]
    assert (said in told[0]) if said else not told
