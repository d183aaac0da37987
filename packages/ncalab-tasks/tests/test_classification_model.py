import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.testing import awaken
from ncalab.tasks import ClassificationNCAModel

CPU = torch.device("cpu")
WAYS: list[dict[str, Any]] = [{}, {"use_classifier": False}, {"pixel_wise_loss": True}]
WAY_NAMES = ["head", "pooled", "pixel-wise"]


def classifier(channels: int = 1, classes: int = 3, **arguments: Any) -> ClassificationNCAModel:
    torch.manual_seed(0)
    arguments = {"hidden_size": 8, "avg_pool_size": 2, "inference_timesteps": 3, **arguments}
    model = ClassificationNCAModel(CPU, channels, 4, classes, **arguments)
    awaken(model, 0.5)
    return model


def images(batch: int, channels: int = 1) -> Tensor:
    return torch.rand(batch, channels, 7, 5, generator=torch.Generator().manual_seed(1))


def prediction_of(model: ClassificationNCAModel, logits: Tensor, image: Tensor) -> Prediction:
    """Make a prediction whose output channels are given."""
    hidden = torch.zeros(len(image), model.num_hidden_channels, *image.shape[2:])
    return Prediction(model, 1, torch.cat([image, hidden, logits], dim=1), logits)


# Three ways to classify


@pytest.mark.parametrize("way", WAYS, ids=WAY_NAMES)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("batch", [1, 3])
def test_probabilities_add_up_and_the_class_is_the_most_probable(
    way: dict[str, Any], channels: int, batch: int
) -> None:
    model = classifier(channels, **way)

    probabilities = model.classify(images(batch, channels), seed=4)
    classes = model.classify(images(batch, channels), reduce=True, seed=4)

    assert probabilities.shape == (batch, 3)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(batch))
    assert classes.dtype == torch.int64
    assert torch.equal(classes, probabilities.argmax(dim=1))


@pytest.mark.parametrize("way", WAYS, ids=WAY_NAMES)
def test_a_sample_is_classified_the_same_alone_and_in_a_batch(way: dict[str, Any]) -> None:
    model, batch = classifier(fire_rate=1.0, **way), images(4)

    together = model.classify(batch)
    alone = torch.cat([model.classify(image[None]) for image in batch])

    torch.testing.assert_close(together, alone, rtol=0, atol=1e-6)


def test_the_number_of_steps_is_the_models_unless_given() -> None:
    model = classifier(inference_timesteps=5)
    steps: list[int] = []

    def spy(prediction: Prediction) -> Prediction:
        steps.append(prediction.steps)
        return prediction

    model.post_prediction = spy  # type: ignore[method-assign]  # on purpose
    model.classify(images(1))
    model.classify(images(1), steps=2)

    assert steps == [5, 2]


def test_the_head_reads_the_hidden_channels() -> None:
    model = classifier()

    prediction = model.predict(images(2), seed=0)

    assert model.head is not None and model.num_output_channels == 0
    assert torch.equal(prediction.logits, model.head(prediction.hidden_channels))
    assert torch.equal(model.interpret(prediction), prediction.logits.softmax(dim=1))


def test_pooled_logits_are_signed_means() -> None:
    model = classifier(use_classifier=False, classes=2)
    logits = torch.stack([torch.full((7, 5), -5.0), torch.full((7, 5), 1.0)])[None]
    prediction = prediction_of(model, logits, images(1))

    finished = model.post_prediction(prediction)

    assert finished.logits.tolist() == [[-5.0, 1.0]]
    assert model.class_probabilities(prediction).argmax(dim=1).item() == 1
    assert model.post_prediction(finished) is finished


def test_record_pools_like_predict() -> None:
    model = classifier(use_classifier=False)

    record = model.record(images(2), steps=4, seed=3)

    assert [p.logits.shape for p in record] == [(2, 3)] * 4
    assert torch.equal(record[-1].logits, model.predict(images(2), steps=4, seed=3).logits)


def test_only_living_cells_have_a_say() -> None:
    model = classifier(pixel_wise_loss=True, classes=2)
    image = torch.zeros(1, 1, 7, 5)
    image[..., :2, :2] = 1
    logits = torch.zeros(1, 2, 7, 5)
    logits[:, 1] = 9.0  # the background is sure of class 1
    logits[:, :, :2, :2] = torch.tensor([2.0, 0.0])[None, :, None, None]
    prediction = prediction_of(model, logits, image)

    probabilities = model.class_probabilities(prediction)
    losses = model.loss(prediction, torch.tensor([0]))

    torch.testing.assert_close(probabilities[0], torch.tensor([2.0, 0.0]).softmax(dim=0))
    assert losses["total"].item() == pytest.approx(-probabilities[0, 0].log().item(), rel=1e-5)


def test_a_mask_says_which_cells_of_an_rgb_image_count() -> None:
    model = classifier(3, pixel_wise_loss=True)
    image = images(2, 3)
    mask = torch.zeros(2, 7, 5)
    mask[:, 3:, 1:4] = 1

    got = model.classify(image, mask=mask, seed=5)

    inside = model.interpret(model.predict(image, seed=5))[..., 3:, 1:4]
    torch.testing.assert_close(got, inside.mean(dim=(2, 3)))


def test_a_mask_without_cells_that_vote_is_refused() -> None:
    with pytest.raises(ValueError, match="mask must be None without pixel_wise_loss"):
        classifier().classify(images(1), mask=torch.ones(1, 7, 5))


def test_cells_have_probabilities_of_their_own() -> None:
    model = classifier(pixel_wise_loss=True)

    prediction = model.predict(images(2))

    assert torch.equal(prediction.logits, prediction.output_channels)
    assert torch.equal(model.interpret(prediction), prediction.logits.softmax(dim=1))


# Loss


@pytest.mark.parametrize("way", WAYS[:2], ids=WAY_NAMES[:2])
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_the_loss_is_torchs_cross_entropy(
    way: dict[str, Any], weights: list[float] | None, shape: tuple[int, ...]
) -> None:
    model = classifier(class_weights=weights, **way)
    prediction = model.predict(images(3))
    label = torch.tensor([2, 0, 1])

    total = model.loss(prediction, label.reshape(shape))["total"]

    weight = None if weights is None else torch.tensor(weights)
    torch.testing.assert_close(total, F.cross_entropy(prediction.logits, label, weight=weight))


@pytest.mark.parametrize("loss_type", ["cross_entropy", "mse"])
def test_every_image_counts_alike_however_large_it_is(loss_type: str) -> None:
    model = classifier(pixel_wise_loss=True, loss_type=loss_type)
    image = torch.zeros(2, 1, 7, 5)
    image[0, 0, 0, 0] = image[1, 0, 2:, :] = 1
    prediction = model.predict(image)
    label = torch.tensor([1, 2])

    total = model.loss(prediction, label)["total"]

    each = [model.loss(prediction[i], label[i : i + 1])["total"] for i in range(2)]
    torch.testing.assert_close(total, torch.stack(each).mean())
    torch.testing.assert_close(model.sample_losses(prediction, label), torch.stack(each))


@pytest.mark.parametrize("way", WAYS, ids=WAY_NAMES)
def test_the_focal_loss_without_focus_is_the_cross_entropy(way: dict[str, Any]) -> None:
    image, label = torch.ones(2, 1, 7, 5), torch.tensor([1, 0])
    plain = classifier(**way)
    focal = classifier(loss_type="focal", focal_gamma=0.0, **way)

    want = plain.loss(plain.predict(image, seed=0), label)["total"]
    got = focal.loss(focal.predict(image, seed=0), label)["total"]

    torch.testing.assert_close(got, want)


def test_the_focal_loss_weighs_classes_and_focuses() -> None:
    model = classifier(loss_type="focal", focal_gamma=2.0, class_weights=[1.0, 3.0, 1.0])
    prediction = model.predict(images(2))
    label = torch.tensor([1, 0])

    p = prediction.logits.softmax(dim=1)[[0, 1], label]
    want = (torch.tensor([3.0, 1.0]) * (1 - p) ** 2 * -p.log()).mean()

    torch.testing.assert_close(model.loss(prediction, label)["total"], want)


@pytest.mark.parametrize("way", WAYS, ids=WAY_NAMES)
def test_hidden_channels_are_held_small_if_asked(way: dict[str, Any]) -> None:
    model = classifier(lambda_hidden=0.5, **way)
    prediction = model.predict(images(1))

    losses = model.loss(prediction, torch.tensor([1]))

    hidden = prediction.hidden_channels.square().mean()
    torch.testing.assert_close(losses["hidden"], hidden)
    torch.testing.assert_close(losses["total"], losses["classification"] + 0.5 * hidden)


@pytest.mark.parametrize("way", WAYS, ids=WAY_NAMES)
@pytest.mark.parametrize("loss_type", ["cross_entropy", "focal", "mse"])
def test_every_parameter_learns_from_every_loss(way: dict[str, Any], loss_type: str) -> None:
    model = classifier(loss_type=loss_type, **way)
    state = torch.cat([images(1), torch.zeros(1, model.num_channels - 1, 7, 5)], dim=1)

    model.loss(model(state, 3), torch.tensor([1]))["total"].backward()

    gradients = {name: p.grad for name, p in model.named_parameters()}
    assert all(g is not None and g.isfinite().all() for g in gradients.values())
    assert all(g is not None and g.any() for g in gradients.values())


def test_labels_that_are_one_hot_are_refused_with_both_shapes() -> None:
    model = classifier()

    with pytest.raises(ValueError, match=r"\(2,\) or \(2, 1\), got \(2, 3\)"):
        model.loss(model.predict(images(2)), torch.zeros(2, 3))


# Metrics


def votes_reference(model: ClassificationNCAModel, prediction: Prediction) -> tuple[Any, Any]:
    """Return each sample's most frequent class and whether it is the only one, from numpy."""
    decided, agreed = [], []
    for image, logits in zip(prediction.output_array[:, 0], prediction.logits_array, strict=True):
        cells = logits[:, image > 0.1].argmax(axis=0)
        decided.append(np.bincount(cells, minlength=model.num_classes).argmax())
        agreed.append(len(np.unique(cells)) == 1)
    return np.array(decided), np.array(agreed)


@pytest.mark.parametrize("way", WAYS, ids=WAY_NAMES)
def test_metrics_are_those_of_sklearn_and_torchmetrics(way: dict[str, Any]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    model = classifier(fire_rate=1.0, **way)
    x, label = images(30), torch.arange(30) % 3
    prediction = model.predict(x)
    scores = model.class_probabilities(prediction)
    decided = scores.argmax(dim=1).numpy()
    if model.pixel_wise_loss:
        decided, agreed = votes_reference(model, prediction)

    values, _ = model.validate([(x[:13], label[:13]), (x[13:], label[13:, None])])  # type: ignore[arg-type]  # a list serves

    assert values["accuracy_micro"] == pytest.approx(
        sklearn.accuracy_score(label, decided), abs=1e-6
    )
    assert values["accuracy_macro"] == pytest.approx(
        sklearn.balanced_accuracy_score(label, decided), abs=1e-6
    )
    assert values["f1"] == pytest.approx(
        sklearn.f1_score(label, decided, average="macro"), abs=1e-6
    )
    area = np.mean([sklearn.roc_auc_score(label == k, scores[:, k]) for k in range(3)])
    assert values["auroc"] == pytest.approx(area, abs=1e-12)
    if model.pixel_wise_loss:
        assert values["total_agreement"] == pytest.approx(agreed.mean(), abs=1e-6)
    assert ("total_agreement" in values) == model.pixel_wise_loss


def test_the_validation_metric_is_known_and_better_when_higher() -> None:
    model = classifier()

    assert model.validation_metric == "accuracy_micro"
    assert all(metric.higher_is_better for metric in model.named_metrics().values())
    assert classifier(validation_metric="f1").validation_metric == "f1"


def test_metrics_move_with_the_model() -> None:
    model = classifier(class_weights=[1, 2, 3]).to("meta")

    assert {m.device.type for m in model.named_metrics().values()} == {"meta"}
    assert {buffer.device.type for buffer in model.buffers()} == {"meta"}


# Configuration


EVERYTHING: dict[str, Any] = {
    "fire_rate": 0.7,
    "hidden_size": 9,
    "num_learned_filters": 3,
    "filter_padding": "circular",
    "kernel_size": 5,
    "pad_noise": True,
    "use_temporal_encoding": True,
    "class_names": ["cat", "dog", "eel"],
    "avg_pool_size": 3,
    "lambda_hidden": 0.25,
    "class_weights": [1.0, 2.0, 4.0],
    "loss_type": "focal",
    "focal_gamma": 1.5,
    "head_hidden_size": 7,
    "immutable_image_channels": False,
    "validation_metric": "f1",
    "training_timesteps": (3, 6),
    "inference_timesteps": 4,
}


@pytest.mark.parametrize("way", WAYS, ids=WAY_NAMES)
def test_a_model_is_rebuilt_with_all_arguments_and_weights(
    way: dict[str, Any], tmp_path: Path
) -> None:
    model = classifier(**{**EVERYTHING, **way})

    twin = AbstractNCAModel.from_dict(json.loads(json.dumps(model.to_dict())))
    model.save_pretrained(tmp_path)
    loaded = AbstractNCAModel.from_pretrained(tmp_path)

    assert isinstance(loaded, ClassificationNCAModel)
    assert twin.to_dict() == loaded.to_dict() == model.to_dict()
    assert all(model.to_dict()[name] is not None for name in EVERYTHING)
    weights = loaded.state_dict()
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert torch.equal(loaded.classify(images(2), seed=1), model.classify(images(2), seed=1))


def test_only_learned_numbers_are_saved() -> None:
    model = classifier(class_weights=[1, 2, 3])

    assert model.state_dict().keys() == {name for name, _ in model.named_parameters()}


def test_the_heads_parameters_are_trained_once() -> None:
    model = classifier()
    assert model.head is not None

    assert model.head.optimizer is None
    parameters = list(model.parameters())
    assert len({id(p) for p in parameters}) == len(parameters)
    assert {id(p) for p in model.head.parameters()} <= {id(p) for p in parameters}


def test_fine_tuning_spares_the_last_layer_and_the_head() -> None:
    model = classifier()

    model.finetune()

    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    heads = {name for name, _ in model.named_parameters() if name.startswith("head.")}
    assert trained == {"rule.network.2.weight", *heads}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"classes": 1}, ValueError, "num_classes must be at least 2, got 1"),
        ({"classes": 2.0}, TypeError, "num_classes must be an integer, got 2.0"),
        ({"class_names": ["a"]}, ValueError, "class_names must be 3 names, got 1"),
        ({"class_names": "abc"}, TypeError, "class_names must be a list of strings"),
        ({"class_weights": [1, 2]}, ValueError, "class_weights must be 3 numbers, got 2"),
        ({"class_weights": [1, 0, 1]}, ValueError, "class_weights must be above 0"),
        ({"lambda_hidden": -1}, ValueError, "lambda_hidden must be at least 0 and finite, got -1"),
        ({"pixel_wise_loss": "no"}, TypeError, "pixel_wise_loss must be True or False, got 'no'"),
        ({"use_classifier": 1}, TypeError, "use_classifier must be True or False, got 1"),
        ({"loss_type": "l1"}, ValueError, "loss_type must be one of cross_entropy, focal, mse"),
        ({"avg_pool_size": 0}, ValueError, "avg_pool_size must be at least 1, got 0"),
        ({"focal_gamma": -1.0}, ValueError, "gamma must be at least 0 and finite, got -1"),
    ],
)
def test_bad_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        classifier(**arguments)


def test_a_head_needs_hidden_channels() -> None:
    with pytest.raises(ValueError, match="num_hidden_channels must be at least 1, got 0"):
        ClassificationNCAModel(CPU, 1, 0, 3)

    assert ClassificationNCAModel(CPU, 1, 0, 3, use_classifier=False).num_channels == 4


def test_importing_the_tasks_imports_neither_torchmetrics_nor_matplotlib() -> None:
    code = "import sys, ncalab.tasks; print({'torchmetrics', 'matplotlib'} & sys.modules.keys())"

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)

    assert result.stdout.strip() == "set()", result.stderr


def test_images_are_classified_towards_a_goal() -> None:
    model, x, goal = classifier(goal_size=2, num_goals=3), images(2), torch.tensor([2, 0])

    got = model.classify(x, 4, seed=1, goal=goal)

    assert torch.equal(got, model.class_probabilities(model.predict(x, 4, seed=1, goal=goal)))
    assert not torch.equal(got, model.classify(x, 4, seed=1, goal=goal.flip(0)))
