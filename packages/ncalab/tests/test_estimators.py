"""Estimators: what they do with images, labels, randomness and files."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from label_sizes import seen_sizes
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.metrics import f1_score
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

from ncalab.estimators import NCAClassifier, NCASegmenter
from ncalab.tasks import CascadeNCA, ClassificationNCAModel, SegmentationNCAModel
from ncalab.train import Recipe

Array = NDArray[Any]

FAST: dict[str, Any] = {
    "num_hidden_channels": 8,
    "hidden_size": 16,
    "steps": 3,
    "epochs": 3,
    "learning_rate": 0.1,
    "random_state": 0,
}


@pytest.fixture(scope="module")
def digits() -> tuple[Array, Array]:
    """Digits 0, 1 and 2: images ``(120, 8, 8)`` and labels."""
    data = load_digits(n_class=3)
    return data.images[:120], data.target[:120]


@pytest.fixture(scope="module")
def masks() -> tuple[Array, Array]:
    """Noise, and where it is bright, ``(16, 9, 7)``."""
    images = np.random.default_rng(0).random((16, 9, 7))
    return images, images > 0.6


@pytest.fixture(scope="module")
def fitted(digits: tuple[Array, Array]) -> NCAClassifier:
    return NCAClassifier(**FAST).fit(*digits)


def classifier(**parameters: Any) -> NCAClassifier:
    return NCAClassifier(**{**FAST, **parameters})


def segmenter(**parameters: Any) -> NCASegmenter:
    return NCASegmenter(**{**FAST, "epochs": 8, "learning_rate": 0.1, **parameters})


def test_digits_are_told_apart(digits: tuple[Array, Array]) -> None:
    images, labels = digits

    trained = classifier(epochs=8).fit(images[:90], labels[:90])

    assert trained.score(images[90:], labels[90:]) > 0.9


def test_flat_images_are_those_of_their_shape(
    fitted: NCAClassifier, digits: tuple[Array, Array]
) -> None:
    images, labels = digits
    flat = images.reshape(len(images), -1)

    other = classifier(image_shape=(8, 8)).fit(flat, labels)

    assert np.array_equal(other.predict_proba(flat), fitted.predict_proba(images))
    assert np.array_equal(other.predict_proba(images), fitted.predict_proba(flat))
    assert other.image_shape_ == (8, 8, 1)
    assert other.n_features_in_ == 64


def test_channels_come_last(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    colours = np.stack([images, 16 - images, images**2], axis=-1)[:, :, :6]

    trained = classifier().fit(colours, labels)

    assert trained.image_shape_ == (8, 6, 3)
    want = (colours[2, 3, 4] - trained.mean_) / trained.scale_
    np.testing.assert_allclose(trained.as_tensor(colours)[2, :, 3, 4], want, rtol=1e-6)


def test_channels_are_standardised(fitted: NCAClassifier, digits: tuple[Array, Array]) -> None:
    seen = fitted.as_tensor(digits[0])

    torch.testing.assert_close(seen.mean(), torch.tensor(0.0), atol=1e-5, rtol=0)
    torch.testing.assert_close(seen.std(), torch.tensor(1.0), atol=1e-3, rtol=0)


def test_images_stay_as_they_are_without_standardisation(digits: tuple[Array, Array]) -> None:
    images, labels = digits

    trained = classifier(standardize=False, epochs=1).fit(images, labels)

    assert np.array_equal(trained.as_tensor(images)[:, 0].numpy(), images.astype(np.float32))


def test_the_same_random_state_gives_the_same_predictions_to_the_bit(
    fitted: NCAClassifier, digits: tuple[Array, Array]
) -> None:
    torch.manual_seed(99)
    np.random.seed(99)

    again = clone(fitted).fit(*digits)

    assert np.array_equal(again.predict_proba(digits[0]), fitted.predict_proba(digits[0]))
    assert again.loss_curve_ == fitted.loss_curve_


def test_another_random_state_gives_another_model(
    fitted: NCAClassifier, digits: tuple[Array, Array]
) -> None:
    other = classifier(random_state=1).fit(*digits)

    assert not np.array_equal(other.predict_proba(digits[0]), fitted.predict_proba(digits[0]))


def test_fitting_leaves_the_generators_of_torch_and_numpy_alone(
    digits: tuple[Array, Array],
) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    want = torch.rand(1).item(), np.random.random()
    torch.manual_seed(5)
    np.random.seed(5)

    classifier(epochs=1).fit(*digits)

    assert (torch.rand(1).item(), np.random.random()) == want


def test_what_is_predicted_for_an_image_does_not_depend_on_the_others(
    fitted: NCAClassifier, digits: tuple[Array, Array]
) -> None:
    images = digits[0]

    alone = np.concatenate([fitted.predict_proba(images[i : i + 1]) for i in (0, 57, 119)])

    np.testing.assert_allclose(alone, fitted.predict_proba(images)[[0, 57, 119]], rtol=1e-5)


def test_probabilities_are_those_of_the_model(
    fitted: NCAClassifier, digits: tuple[Array, Array]
) -> None:
    x = fitted.as_tensor(digits[0][:32])

    prediction = fitted.model_.predict(x, seed=fitted.seed_, samples=[0] * 32)

    want = prediction.logits.softmax(dim=1).numpy()
    np.testing.assert_allclose(fitted.predict_proba(digits[0][:32]), want, atol=1e-5)


def test_images_of_another_size_can_be_classified(
    fitted: NCAClassifier, digits: tuple[Array, Array]
) -> None:
    large = np.pad(digits[0][:4], ((0, 0), (4, 4), (4, 4)))

    assert fitted.predict(large).shape == (4,)


def test_classes_may_be_words(digits: tuple[Array, Array]) -> None:
    names = np.array(["zero", "one", "two"])[digits[1]]

    trained = classifier().fit(digits[0], names)

    assert list(trained.classes_) == ["one", "two", "zero"]
    assert set(trained.predict(digits[0])) <= set(names)


def test_early_stopping_keeps_the_best_weights(digits: tuple[Array, Array]) -> None:
    trained = classifier(
        early_stopping=True, validation_fraction=0.3, n_iter_no_change=2, epochs=30
    ).fit(*digits)

    assert trained.n_iter_ < 30
    assert trained.validation_scores_ is not None
    assert len(trained.validation_scores_) == len(trained.loss_curve_) == trained.n_iter_
    best = int(np.argmax(trained.validation_scores_))
    assert best < trained.n_iter_ - 1


def test_a_warm_start_goes_on_and_a_cold_one_does_not(digits: tuple[Array, Array]) -> None:
    warm, cold = classifier(warm_start=True).fit(*digits), classifier().fit(*digits)
    first = warm.loss_curve_[-1]

    warm.fit(*digits)

    assert warm.loss_curve_[0] < cold.fit(*digits).loss_curve_[0]
    assert warm.loss_curve_[-1] < first


def test_a_warm_start_with_other_classes_is_an_error_and_changes_nothing(
    digits: tuple[Array, Array],
) -> None:
    images, labels = digits
    warm = classifier(warm_start=True).fit(images, labels)
    before = warm.predict_proba(images)

    with pytest.raises(ValueError, match="warm_start must be False for other classes"):
        warm.fit(images, labels % 2)

    assert np.array_equal(warm.predict_proba(images), before)


def test_class_weights_reach_the_loss(digits: tuple[Array, Array]) -> None:
    trained = classifier(class_weight={0: 2.0, 1: 1.0, 2: 0.5}, epochs=1).fit(*digits)

    assert trained.model_.class_weights == [2.0, 1.0, 0.5]


def test_further_arguments_reach_the_model(digits: tuple[Array, Array]) -> None:
    trained = classifier(epochs=1, model_params={"use_classifier": False}).fit(*digits)

    assert trained.model_.head is None
    assert trained.predict_proba(digits[0]).shape == (120, 3)


def test_a_pickled_estimator_predicts_the_same(
    fitted: NCAClassifier, digits: tuple[Array, Array]
) -> None:
    again = pickle.loads(pickle.dumps(fitted))

    assert np.array_equal(again.predict_proba(digits[0]), fitted.predict_proba(digits[0]))


def test_a_saved_estimator_predicts_the_same(
    fitted: NCAClassifier, digits: tuple[Array, Array], tmp_path: Path
) -> None:
    fitted.save_pretrained(tmp_path)

    again = NCAClassifier.from_pretrained(tmp_path)

    assert np.array_equal(again.predict_proba(digits[0]), fitted.predict_proba(digits[0]))
    assert again.get_params() == fitted.get_params()
    assert again.classes_.dtype == fitted.classes_.dtype


def test_the_model_of_a_saved_estimator_can_be_read_on_its_own(
    fitted: NCAClassifier, digits: tuple[Array, Array], tmp_path: Path
) -> None:
    fitted.save_pretrained(tmp_path)

    model = ClassificationNCAModel.from_pretrained(tmp_path)

    classes = model.classify(fitted.as_tensor(digits[0]), reduce=True, seed=0)
    assert (classes.numpy() == digits[1]).mean() > 0.5


def test_an_estimator_of_another_class_cannot_be_read(
    fitted: NCAClassifier, tmp_path: Path
) -> None:
    fitted.save_pretrained(tmp_path)

    with pytest.raises(ValueError, match="must describe a NCASegmenter, got 'NCAClassifier'"):
        NCASegmenter.from_pretrained(tmp_path)


def test_a_folder_without_an_estimator_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"folder must hold estimator\.json"):
        NCAClassifier.from_pretrained(tmp_path)


def test_a_parameter_that_is_no_data_is_an_error_and_nothing_is_written(
    digits: tuple[Array, Array], tmp_path: Path
) -> None:
    trained = classifier(epochs=1, random_state=np.random.RandomState(0)).fit(*digits)

    with pytest.raises(TypeError, match="random_state must be data that JSON can hold"):
        trained.save_pretrained(tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_an_estimator_that_is_not_fitted_cannot_be_saved(tmp_path: Path) -> None:
    with pytest.raises(NotFittedError):
        classifier().save_pretrained(tmp_path)


def test_a_grid_search_finds_a_setting(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    grid = {"learning_rate": [1e-9, 0.1]}

    search = GridSearchCV(classifier(batch_size=8), grid, cv=2).fit(images, labels)

    assert search.best_params_ == {"learning_rate": 0.1}


def test_an_estimator_ends_a_pipeline_and_is_cross_validated(
    digits: tuple[Array, Array],
) -> None:
    images, labels = digits
    flat = images.reshape(len(images), -1)
    pipeline = make_pipeline(MinMaxScaler(), classifier(image_shape=(8, 8), batch_size=8))

    scores = cross_val_score(pipeline, flat, labels, cv=2)

    assert scores.shape == (2,)
    assert scores.min() > 0.4


def test_masks_are_found(masks: tuple[Array, Array]) -> None:
    images, labels = masks

    trained = segmenter(epochs=20).fit(images[:12], labels[:12])

    predicted = trained.predict(images[12:])
    assert predicted.shape == (4, 9, 7)
    assert predicted.dtype == bool
    score = trained.score(images[12:], labels[12:])
    assert score > 0.9
    want = 2 * (predicted & labels[12:]).sum() / (predicted.sum() + labels[12:].sum())
    assert score == pytest.approx(want)


def test_probabilities_of_cells_have_the_classes_last(masks: tuple[Array, Array]) -> None:
    images, labels = masks

    probabilities = segmenter(epochs=1).fit(images, labels).predict_proba(images)

    assert probabilities.shape == (16, 9, 7, 2)
    np.testing.assert_allclose(probabilities.sum(axis=-1), 1)


def test_several_classes_are_scored_by_their_mean(masks: tuple[Array, Array]) -> None:
    images = masks[0]
    labels = np.digitize(images, [0.3, 0.6]) * 10

    trained = segmenter(epochs=20).fit(images, labels)

    assert isinstance(trained.model_, SegmentationNCAModel)
    assert trained.model_.num_classes == 3
    assert set(np.unique(trained.predict(images))) <= {0, 10, 20}
    each = f1_score(labels.ravel(), trained.predict(images).ravel(), average=None)
    assert trained.score(images, labels) == pytest.approx(each.mean())
    assert trained.score(images, labels) > 0.8


def test_flat_masks_are_those_of_their_shape(masks: tuple[Array, Array]) -> None:
    images, labels = masks
    flat = images.reshape(16, -1)

    one = segmenter(epochs=1).fit(images, labels)
    other = segmenter(epochs=1, image_shape=(9, 7)).fit(flat, labels.reshape(16, -1))

    want = one.predict_proba(images)
    assert np.array_equal(other.predict_proba(images), want)
    assert np.array_equal(other.predict_proba(flat), want.reshape(16, 63, 2))
    assert other.score(flat, labels.reshape(16, -1)) == one.score(images, labels)


def test_larger_images_can_be_segmented(masks: tuple[Array, Array]) -> None:
    images, labels = masks
    trained = segmenter(epochs=1).fit(images, labels)

    assert trained.predict(np.tile(images[:1], (1, 3, 2))).shape == (1, 27, 14)


def test_a_segmenter_is_searched_cross_validated_and_piped(masks: tuple[Array, Array]) -> None:
    images, labels = masks
    pipeline = make_pipeline(FunctionTransformer(lambda x: x[..., None] * 2), segmenter(epochs=4))

    scores = cross_val_score(pipeline, images, labels, cv=2)
    search = GridSearchCV(segmenter(batch_size=2), {"learning_rate": [1e-9, 0.1]}, cv=2)
    search.fit(images, labels)

    assert ((scores >= 0) & (scores <= 1)).all()
    assert search.best_params_ == {"learning_rate": 0.1}


def test_masks_of_another_size_are_an_error(masks: tuple[Array, Array]) -> None:
    images, labels = masks

    with pytest.raises(ValueError, match=r"y must have shape \(N, W, H\) = \(16, 9, 7\)"):
        segmenter().fit(images, labels[:, :, :6])


def test_masks_that_lie_across_are_no_score(masks: tuple[Array, Array]) -> None:
    images, labels = masks
    trained = segmenter(epochs=1).fit(images, labels)

    with pytest.raises(ValueError, match=r"y must have shape .* got \(16, 7, 9\)"):
        trained.score(images, labels.transpose(0, 2, 1))


def test_saved_parameters_are_read_as_they_were(
    digits: tuple[Array, Array], tmp_path: Path
) -> None:
    given = {"image_shape": (8, 8), "steps": (1, 3), "class_weight": {0: 2.0, 1: 1.0, 2: 1.0}}
    classifier(epochs=1, **given).fit(*digits).save_pretrained(tmp_path)

    read = NCAClassifier.from_pretrained(tmp_path).get_params()

    assert {name: read[name] for name in given} == given


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"epochs": 0}, ValueError, "epochs must be at least 1, got 0"),
        ({"batch_size": 2.5}, TypeError, r"batch_size must be an integer, got 2\.5"),
        ({"learning_rate": 0.0}, ValueError, "learning_rate must be above 0"),
        ({"steps": 0}, ValueError, "steps must be at least 1, got 0"),
        ({"validation_fraction": 1.0}, ValueError, "validation_fraction must be in"),
        ({"image_shape": (8, 7)}, ValueError, "image_shape must be that of X"),
        ({"image_shape": 8}, TypeError, r"image_shape must be \(W, H\), \(W, H, C\) or None"),
        ({"device": "gpu"}, ValueError, "device must be cpu"),
        ({"fire_rate": 2.0}, ValueError, "fire_rate must be in"),
    ],
)
def test_a_bad_parameter_is_an_error_that_names_it(
    digits: tuple[Array, Array], parameters: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        classifier(**parameters).fit(*digits)


def test_flat_images_must_have_the_features_of_their_shape() -> None:
    with pytest.raises(ValueError, match="image_shape must have as many values as X has"):
        classifier(image_shape=(8, 8)).fit(np.zeros((4, 63)), [0, 1, 0, 1])


def test_a_single_class_is_an_error(digits: tuple[Array, Array]) -> None:
    with pytest.raises(ValueError, match="y must hold at least 2 classes, got 1 class"):
        classifier().fit(digits[0], np.zeros(120))


def test_other_channels_than_in_fit_are_an_error(fitted: NCAClassifier) -> None:
    with pytest.raises(ValueError, match="X must have 1 channels, as in fit, got 3"):
        fitted.predict(np.zeros((2, 8, 8, 3)))


def test_images_with_nan_are_an_error(digits: tuple[Array, Array]) -> None:
    images = digits[0].copy()
    images[3, 2, 1] = np.nan

    with pytest.raises(ValueError, match="NaN"):
        classifier().fit(images, digits[1])


def test_a_failed_fit_keeps_the_fitted_model(digits: tuple[Array, Array]) -> None:
    images, labels = digits
    flat = images.reshape(len(images), -1)
    trained = classifier(image_shape=(8, 8)).fit(flat, labels)
    before = trained.predict_proba(flat)

    with pytest.raises(ValueError, match="image_shape must have as many values"):
        trained.fit(flat[:, :32], labels)

    assert np.array_equal(trained.predict_proba(flat), before)


def test_steps_may_be_a_range(digits: tuple[Array, Array]) -> None:
    trained = classifier(steps=(2, 5), epochs=1).fit(*digits)

    assert trained.model_.training_timesteps == (2, 5)
    assert trained.model_.inference_timesteps == 4


# What the data decide


def large_masks(side: int = 30, count: int = 4) -> tuple[Array, Array]:
    images = np.random.default_rng(0).random((count, side, side)).astype(np.float32)
    return images, images > 0.9


def test_scales_and_steps_are_chosen_for_the_size_of_the_images() -> None:
    trained = NCASegmenter(hidden_size=8, epochs=1, random_state=0).fit(*large_masks())

    assert isinstance(trained.model_, CascadeNCA)
    assert tuple(trained.model_.scales) == trained.recommendation_.scales == (2, 1)
    assert trained.recommendation_.reasons[0].startswith("cells of 2, 1 pixels")
    assert trained.predict(large_masks()[0]).shape == (4, 30, 30)


def test_scales_may_be_given() -> None:
    trained = NCASegmenter(scales=(3, 1), hidden_size=8, steps=5, epochs=1, random_state=0)
    trained.fit(*large_masks())

    assert isinstance(trained.model_, CascadeNCA) and trained.model_.scales == [3, 1]
    assert trained.model_.inference_timesteps == 5


@pytest.mark.parametrize(
    "parameters",
    [
        {"steps": 3},
        {"steps": (2, 4)},
        {"model_params": {"training_timesteps": 3, "inference_timesteps": 3}},
        {"model_params": {"inference_timesteps": 3}},
    ],
)
def test_the_recommendation_says_what_the_model_runs(parameters: dict[str, Any]) -> None:
    trained = NCASegmenter(hidden_size=8, epochs=1, random_state=0, **parameters)
    trained.fit(*large_masks())

    assert isinstance(trained.model_, CascadeNCA)
    assert trained.model_.inference_timesteps == 3
    assert trained.recommendation_.steps == tuple(trained.model_.steps) == (2, 1)
    assert trained.recommendation_.reasons[0].endswith("3 steps in all were asked for")
    assert trained.recommendation_.model["hidden_size"] == 8


def test_steps_at_a_single_scale_are_those_that_were_asked_for(
    digits: tuple[Array, Array],
) -> None:
    trained = classifier(epochs=1, steps=3).fit(*digits)

    assert trained.recommendation_.steps == (3,)
    assert trained.recommendation_.reasons[0] == "one scale, 3 steps: 3 steps in all were asked for"


def test_weights_of_classes_are_hinted_at_where_none_are_given(
    digits: tuple[Array, Array],
) -> None:
    images, labels = digits
    kept = np.r_[np.flatnonzero(labels != 0), np.flatnonzero(labels == 0)[:2]]

    plain = classifier(epochs=1).fit(images[kept], labels[kept])
    weighted = classifier(epochs=1, class_weight="balanced").fit(images[kept], labels[kept])

    assert plain.model_.class_weights is None
    assert any("class_weight" in reason for reason in plain.recommendation_.reasons)
    assert weighted.recommendation_.model["class_weights"] == weighted.model_.class_weights
    assert not any("class_weight" in reason for reason in weighted.recommendation_.reasons)


def test_there_are_no_more_scales_than_steps() -> None:
    trained = NCASegmenter(hidden_size=8, steps=1, epochs=1, random_state=0).fit(*large_masks())

    assert isinstance(trained.model_, SegmentationNCAModel)


def test_an_estimator_with_scales_is_saved_and_read(tmp_path: Path) -> None:
    images, labels = large_masks()
    trained = NCASegmenter(hidden_size=8, epochs=1, random_state=0).fit(images, labels)
    trained.save_pretrained(tmp_path)

    read = NCASegmenter.from_pretrained(tmp_path)

    assert np.array_equal(read.predict_proba(images), trained.predict_proba(images))


def test_a_segmenter_trains_on_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = seen_sizes(monkeypatch)

    NCASegmenter(hidden_size=8, steps=2, epochs=1, patch_size=12).fit(*large_masks())

    assert sizes == {(12, 12)}


@pytest.mark.parametrize(("given", "used", "said"), [("auto", 96, True), (32, 32, False)])
def test_the_recommendation_says_which_patches_are_trained_on(
    given: Any, used: int, said: bool
) -> None:
    segmenter = NCASegmenter(hidden_size=4, steps=4, epochs=1, patch_size=given, random_state=0)

    chosen = segmenter.fit(*large_masks(side=200, count=1)).recommendation_

    assert chosen.patch_size == used
    assert any(reason.startswith("patches of 96 x 96") for reason in chosen.reasons) is said


def test_a_warm_start_continues_from_an_estimator_that_was_read(tmp_path: Path) -> None:
    images, labels = large_masks(side=8)
    trained = NCASegmenter(hidden_size=4, epochs=1, warm_start=True, random_state=0)
    trained.fit(images, labels).save_pretrained(tmp_path)

    again = NCASegmenter.from_pretrained(tmp_path).fit(images, labels)

    assert again.loss_curve_ == trained.fit(images, labels).loss_curve_


def test_a_recipe_is_saved_and_read(tmp_path: Path) -> None:
    images, labels = large_masks(side=8)
    recipe = Recipe(lr=0.01, adam_betas=(0.5, 0.75), ema_decay=None)
    trained = NCASegmenter(hidden_size=4, epochs=1, recipe=recipe, random_state=0)
    trained.fit(images, labels).save_pretrained(tmp_path)

    read = NCASegmenter.from_pretrained(tmp_path)

    assert read.recipe == recipe
    assert np.array_equal(read.predict_proba(images), trained.predict_proba(images))


def test_images_of_several_sizes_are_named(digits: tuple[Array, Array]) -> None:
    images, labels = digits

    with pytest.raises(ValueError, match=r"X must hold samples of one shape, got \(8, 8\) and"):
        classifier().fit([images[0], images[1][:7]], labels[:2])


def test_the_weights_of_a_recipe_are_averaged(digits: tuple[Array, Array]) -> None:
    averaged, last = (
        classifier(epochs=2, recipe=recipe).fit(*digits)
        for recipe in (Recipe(ema_decay=0.9), Recipe(ema_decay=None))
    )

    assert averaged.loss_curve_ == last.loss_curve_
    assert not np.array_equal(averaged.predict_proba(digits[0]), last.predict_proba(digits[0]))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"recipe": "best"}, "recipe must be one of documented, recommended, got 'best'"),
        ({"scales": ()}, "scales must hold at least one size of cells, got none"),
        ({"scales": (1, 2)}, "scales must fall from coarse to fine"),
        ({"scales": (31, 1)}, "scales must be at most the shorter side of the images, 30"),
        ({"scales": (2, 1), "steps": 1}, "steps must be at least 2, one for each of the scales"),
        ({"max_minutes": 0}, "max_minutes must be above 0"),
        ({"patch_size": 0}, "patch_size must be at least 1"),
    ],
)
def test_a_bad_choice_is_an_error_that_names_it(parameters: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NCASegmenter(hidden_size=8, epochs=1, **parameters).fit(*large_masks())
