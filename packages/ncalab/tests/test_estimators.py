import pickle
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler

import ncalab
from ncalab.estimators import NCAClassifier, NCASegmenter

SMALL: dict[str, Any] = {
    "num_hidden_channels": 6,
    "hidden_size": 16,
    "steps": 3,
    "batch_size": 8,
    "random_state": 0,
}


def squares_and_stripes(count: int = 24) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw images of six by seven cells, every other one with a stripe instead of a square."""
    images = np.random.default_rng(0).normal(0, 0.1, (count, 6, 7))
    images[::2, 1:4, 1:4] += 1
    images[1::2, 2, :] += 1
    return images, np.where(np.arange(count) % 2, "stripe", "square")


def bright_cells(count: int = 12, size: int = 8) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw noise and mark its bright cells."""
    images = np.random.default_rng(1).random((count, size, size + 1))
    return images, images > 0.5


def test_images_and_rows_of_their_pixels_are_classified_alike() -> None:
    images, labels = squares_and_stripes()
    rows = images.reshape(len(images), -1)

    of_images = NCAClassifier(epochs=8, **SMALL).fit(images, labels)
    of_rows = NCAClassifier((6, 7), epochs=8, **SMALL).fit(rows, labels)

    assert of_images.score(images, labels) == 1
    np.testing.assert_array_equal(of_images.predict_proba(images), of_rows.predict_proba(rows))


def test_the_same_random_state_gives_the_same_probabilities_to_the_bit() -> None:
    images, labels = squares_and_stripes()
    torch.manual_seed(5)
    first = NCAClassifier(epochs=2, **SMALL).fit(images, labels).predict_proba(images)
    torch.manual_seed(6)
    again = NCAClassifier(epochs=2, **SMALL).fit(images, labels).predict_proba(images)
    other = clone(NCAClassifier(epochs=2, **SMALL)).set_params(random_state=1)

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other.fit(images, labels).predict_proba(images))


def test_fitting_leaves_the_generator_of_torch_alone() -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)

    NCAClassifier(epochs=1, **SMALL).fit(*squares_and_stripes())

    assert torch.equal(torch.rand(3), wanted)


def test_colours_come_last() -> None:
    images, labels = squares_and_stripes()
    coloured = np.stack([images, 1 - images, images**2], axis=-1)

    classifier = NCAClassifier(epochs=1, **SMALL).fit(coloured, labels)

    assert classifier.n_channels_ == classifier.model_.num_image_channels == 3
    np.testing.assert_allclose(classifier.mean_.squeeze(), coloured.mean(axis=(0, 1, 2)), rtol=1e-5)


def test_a_model_without_its_wrapper_says_the_same() -> None:
    images, labels = squares_and_stripes()
    classifier = NCAClassifier(epochs=2, **SMALL).fit(images, labels)
    x = torch.from_numpy((images[:1, None] - classifier.mean_) / classifier.scale_).float()

    alone = classifier.model_.classify(x, seed=classifier.prediction_seed_)

    np.testing.assert_allclose(classifier.predict_proba(images[:1]), alone, atol=1e-6)


def test_an_image_is_predicted_the_same_alone_and_among_others() -> None:
    images, labels = squares_and_stripes()
    classifier = NCAClassifier(epochs=2, **SMALL).fit(images, labels)

    together = classifier.predict_proba(images)

    for index in (0, 13):
        alone = classifier.predict_proba(images[index : index + 1])
        np.testing.assert_allclose(alone[0], together[index], atol=1e-6)


def test_images_of_other_sizes_than_those_of_the_training_are_predicted() -> None:
    images, masks = bright_cells()
    segmenter = NCASegmenter(epochs=40, learning_rate=1e-2, **SMALL).fit(images, masks)
    larger, truth = bright_cells(2, size=15)

    assert segmenter.predict(larger).shape == (2, 15, 16)
    assert segmenter.score(larger, truth) > 0.9


def test_masks_keep_their_labels() -> None:
    images, _ = bright_cells()
    masks = np.digitize(images, [0.3, 0.7]) * 10

    segmenter = NCASegmenter(epochs=2, **SMALL).fit(images, masks)

    assert segmenter.classes_.tolist() == [0, 10, 20]
    assert set(np.unique(segmenter.predict(images))) <= {0, 10, 20}
    probabilities = segmenter.predict_proba(images)
    assert probabilities.shape == (12, 8, 9, 3)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("predicted", "score"),
    [([0, 1, 1, 1], 0.8), ([0, 0, 1, 1], 1.0), ([1, 1, 0, 0], 0.0)],
)
def test_the_score_is_dice(
    monkeypatch: pytest.MonkeyPatch, predicted: list[int], score: float
) -> None:
    images, masks = np.zeros((1, 2, 2)), np.array([[[0, 0], [1, 1]]])
    segmenter = NCASegmenter(**SMALL)
    segmenter.classes_ = np.array([0, 1])
    answer = np.array(predicted).reshape(1, 2, 2)
    monkeypatch.setattr(segmenter, "predict", lambda X: answer)  # noqa: N803

    assert segmenter.score(images, masks) == pytest.approx(score)


def test_rows_are_segmented_into_rows() -> None:
    images, masks = bright_cells()
    rows, flat = images.reshape(12, -1), masks.reshape(12, -1)

    segmenter = NCASegmenter((8, 9), epochs=1, **SMALL).fit(rows, flat)

    assert segmenter.predict(rows).shape == flat.shape
    assert segmenter.predict_proba(rows).shape == (*flat.shape, 2)


def test_estimators_are_searched_validated_piped_and_pickled() -> None:
    images, labels = squares_and_stripes()
    rows = images.reshape(len(images), -1)
    pipeline = make_pipeline(MinMaxScaler(), NCAClassifier((6, 7), epochs=4, **SMALL))

    grid = {"ncaclassifier__steps": [2, 3], "ncaclassifier__hidden_size": [16]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(rows, labels)
    copied = pickle.loads(pickle.dumps(search.best_estimator_))

    assert search.best_score_ > 0.9
    np.testing.assert_array_equal(copied.predict_proba(rows), search.predict_proba(rows))
    segmenter = NCASegmenter(epochs=20, learning_rate=1e-2, **SMALL)
    assert cross_val_score(segmenter, *bright_cells(), cv=2, error_score="raise").min() > 0.7


def test_early_stopping_ends_before_the_last_epoch() -> None:
    images, labels = squares_and_stripes(60)

    classifier = NCAClassifier(
        epochs=100, early_stopping=True, n_iter_no_change=2, validation_fraction=0.2, **SMALL
    ).fit(images, labels)

    assert classifier.n_iter_ < 100
    assert classifier.score(images, labels) > 0.9


def test_rare_classes_weigh_more_when_balanced() -> None:
    images, labels = squares_and_stripes()
    keep = np.r_[0:24:2, 1:7:2]  # 12 squares, 3 stripes

    classifier = NCAClassifier(epochs=1, class_weight="balanced", **SMALL)
    classifier.fit(images[keep], labels[keep])

    assert classifier.model_.class_weights == pytest.approx([15 / 24, 15 / 6])


@pytest.mark.parametrize(
    ("settings", "shape", "message"),
    [
        ({"steps": 0}, (4, 6, 6), "steps must be at least 1, got 0"),
        ({"epochs": 0}, (4, 6, 6), "epochs must be at least 1, got 0"),
        ({"image_shape": (5, 5)}, (4, 24), r"as many values as a row of X, 24, got \(5, 5, 1\)"),
        ({"image_shape": (5,)}, (4, 25), r"image_shape must be \(W, H\) or"),
        ({}, (4, 2, 2, 2, 2), r"X must be \(N, W, H\), \(N, W, H, C\) or \(N, features\)"),
        ({"device": "gpu"}, (4, 6, 6), "device must be"),
    ],
)
def test_bad_arguments_are_named(settings: Any, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NCAClassifier(**settings).fit(np.zeros(shape), [0, 1, 0, 1])


def test_other_channels_than_those_of_the_training_are_refused() -> None:
    classifier = NCAClassifier(epochs=1, **SMALL).fit(*squares_and_stripes())

    with pytest.raises(ValueError, match="X must have 1 channels as in fit, got 3"):
        classifier.predict(np.zeros((2, 6, 7, 3)))


def test_masks_of_another_shape_or_kind_are_refused() -> None:
    images, masks = bright_cells()

    with pytest.raises(
        ValueError, match=r"y must be masks of shape \(12, 8, 9\), got \(12, 9, 8\)"
    ):
        NCASegmenter().fit(images, masks.transpose(0, 2, 1))
    with pytest.raises(TypeError, match="y must be masks of integers or booleans"):
        NCASegmenter().fit(images, masks * 0.5)
    with pytest.raises(ValueError, match="y must have at least two labels"):
        NCASegmenter().fit(images, masks & False)


def test_a_segmenter_that_was_not_fitted_says_so() -> None:
    with pytest.raises(NotFittedError):
        NCASegmenter().predict(np.zeros((1, 4, 4)))


def test_the_facade_has_them() -> None:
    assert ncalab.NCAClassifier is NCAClassifier
    assert ncalab.NCASegmenter is NCASegmenter
