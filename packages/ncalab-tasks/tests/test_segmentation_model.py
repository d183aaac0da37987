import json
from typing import Any

import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.testing import awaken
from ncalab.tasks import SegmentationNCAModel, SegmentationPrediction

CPU = torch.device("cpu")


def awake(**arguments: Any) -> SegmentationNCAModel:
    """Return a model of 2 image and 3 hidden channels whose rule does something."""
    torch.manual_seed(0)
    defaults = {"num_image_channels": 2, "num_hidden_channels": 3, "hidden_size": 8}
    model = SegmentationNCAModel(CPU, **{**defaults, **arguments})
    awaken(model, 0.3)
    return model


def images() -> Tensor:
    return torch.rand(3, 2, 6, 9, generator=torch.Generator().manual_seed(1))


def labels(count: int) -> Tensor:
    return torch.randint(0, max(2, count), (3, 6, 9), generator=torch.Generator().manual_seed(2))


def saying(model: SegmentationNCAModel, logits: Tensor) -> Prediction:
    """Return a prediction with given logits."""
    batch, _, *grid = logits.shape
    others = torch.zeros(batch, 5, *grid)
    return SegmentationPrediction(model, 1, torch.cat([others, logits], dim=1), logits)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_mask_is_the_most_likely_class_of_each_cell(count: int) -> None:
    model = awake(num_classes=count)

    prediction = model.predict(images(), 4)

    assert isinstance(prediction, SegmentationPrediction)
    likely = model.interpret(prediction)
    want = (likely[:, 0] > 0.5).long() if count == 1 else likely.argmax(dim=1)
    assert prediction.mask.shape == (3, 6, 9)
    assert torch.equal(prediction.mask, want)
    assert len(prediction.mask.unique()) > 1


@pytest.mark.parametrize("count", [1, 3])
def test_probabilities_are_those_of_the_raw_logits_in_the_state(count: int) -> None:
    model = awake(num_classes=count)

    prediction = model.predict(images(), 4)

    state, likely = prediction.output_image[:, 5:], model.interpret(prediction)
    assert torch.equal(prediction.logits, state)
    assert prediction.logits.min() < 0
    torch.testing.assert_close(likely, state.sigmoid() if count == 1 else state.softmax(dim=1))


def test_record_forward_and_predict_agree() -> None:
    model = awake(num_classes=3)
    state = torch.cat([images(), torch.zeros(3, 6, 6, 9)], dim=1)

    record = model.record(images(), 5, seed=4)

    last, rolled = model.predict(images(), 5, seed=4), model(state, 5, seed=4)
    assert [prediction.steps for prediction in record] == [1, 2, 3, 4, 5]
    for prediction in (record[-1], rolled):
        assert isinstance(prediction, SegmentationPrediction)
        assert torch.equal(prediction.output_image, last.output_image)
        assert torch.equal(prediction.mask, model.predict(images(), 5, seed=4).mask)  # type: ignore[attr-defined]  # a segmentation's own attribute


def test_samples_and_detached_predictions_keep_their_mask() -> None:
    prediction = awake().predict(images(), 4)

    assert isinstance(prediction, SegmentationPrediction)
    for single in (prediction[1], prediction.detach()[1]):
        assert isinstance(single, SegmentationPrediction)
        assert torch.equal(single.mask, prediction.mask[1:2])


def test_the_image_is_left_as_it_is() -> None:
    prediction = awake().predict(images(), 4)

    assert torch.equal(prediction.image_channels, images())


# Loss


@pytest.mark.parametrize("count", [1, 3, 12])
def test_the_loss_is_the_sum_of_its_terms(count: int) -> None:
    model = awake(num_classes=count, lambda_hidden=0.5)
    prediction = model.predict(images(), 4)

    losses = model.loss(prediction, labels(count))

    hidden = prediction.output_image[:, 2:5].square().mean()
    entropy = losses["bce" if count == 1 else "ce"]
    torch.testing.assert_close(losses["hidden"], hidden)
    torch.testing.assert_close(losses["total"], losses["dice"] + entropy + 0.5 * hidden)
    assert losses["total"].shape == ()


@pytest.mark.parametrize("count", [1, 3, 12])
def test_training_lowers_the_loss(count: int) -> None:
    model = awake(num_classes=count, fire_rate=1.0)
    state = torch.cat([images(), torch.zeros(3, 3 + count, 6, 9)], dim=1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    target = (images()[:, 0] * max(2, count)).long()

    values = []
    for _ in range(15):
        optimizer.zero_grad()
        losses = model.loss(model(state, 3), target)
        losses["total"].backward()
        optimizer.step()
        values.append(losses["total"].item())

    assert values[-1] < 0.9 * values[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_a_perfect_empty_mask_has_no_loss() -> None:
    model = awake()
    empty = torch.zeros(1, 6, 9, dtype=torch.int64)

    losses = model.loss(saying(model, torch.full((1, 1, 6, 9), -50.0)), empty)

    assert losses["total"].item() == pytest.approx(0, abs=1e-6)


def test_a_batch_of_one_and_one_cell_has_a_loss() -> None:
    model = awake(num_classes=3)

    losses = model.loss(model.predict(torch.rand(1, 2, 1, 1), 2), torch.tensor([[[2]]]))

    assert losses["total"].isfinite()


@pytest.mark.parametrize("count", [1, 3])
def test_labels_may_have_a_channel_axis(count: int) -> None:
    model = awake(num_classes=count)
    prediction = model.predict(images(), 4)

    assert torch.equal(
        model.loss(prediction, labels(count))["total"],
        model.loss(prediction, labels(count)[:, None])["total"],
    )


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.float32, torch.float64])
def test_binary_labels_are_taken_in_any_dtype(dtype: torch.dtype) -> None:
    model = awake()
    prediction = model.predict(images(), 4)

    torch.testing.assert_close(
        model.loss(prediction, labels(1).to(dtype)), model.loss(prediction, labels(1))
    )


@pytest.mark.parametrize("shape", [(3, 9, 6), (3, 1, 9, 6), (3, 6, 9, 1), (2, 6, 9), (3, 2, 6, 9)])
def test_labels_of_another_shape_name_both_shapes(shape: tuple[int, ...]) -> None:
    model = awake()
    label = torch.zeros(shape, dtype=torch.int64)

    with pytest.raises(ValueError, match=r"\(3, 6, 9\) or .*\(3, 1, 6, 9\), got") as error:
        model.loss(model.predict(images(), 1), label)
    assert str(shape) in str(error.value)
    with pytest.raises(ValueError, match="label must have shape"):
        model.validate([(images(), label)], 1)  # type: ignore[arg-type]  # anything iterable


@pytest.mark.parametrize(("count", "wrong", "top"), [(1, 255, 1), (3, 3, 2), (3, -1, 2)])
def test_labels_out_of_range_are_named(count: int, wrong: int, top: int) -> None:
    model = awake(num_classes=count)
    label = torch.full((3, 6, 9), wrong)

    for measure in (
        lambda: model.loss(model.predict(images(), 1), label),
        lambda: model.validate([(images(), label)], 1),  # type: ignore[arg-type]  # a list serves as a loader
    ):
        with pytest.raises(ValueError, match=rf"must be in \[0, {top}\], got {wrong} to {wrong}"):
            measure()


@pytest.mark.parametrize("count", [1, 3])
def test_ignored_cells_count_neither_in_the_loss_nor_in_the_metrics(count: int) -> None:
    model = awake(num_classes=count, ignore_index=255, fire_rate=1.0, lambda_hidden=0)
    prediction = model.predict(images(), 4)
    label = labels(count)
    label[:, 3:] = 255

    losses = model.loss(prediction, label)
    values, _ = model.validate([(images(), label)], 4)  # type: ignore[arg-type]  # a list serves as a loader

    cut = saying(model, prediction.logits[:, :, :3])
    torch.testing.assert_close(losses["total"], model.loss(cut, label[:, :3])["total"])
    flat = label[:, :3].flatten().numpy(), prediction.mask[:, :3].flatten().numpy()  # type: ignore[attr-defined]  # a segmentation's own attribute
    want = f1_score(*flat, average="binary" if count == 1 else "macro")
    assert values["dice"] == pytest.approx(want, abs=1e-6)


def test_ignored_cells_may_be_floating_point() -> None:
    model = awake(ignore_index=255, fire_rate=1.0)
    label = labels(1)
    label[:, 3:] = 255

    whole, _ = model.validate([(images(), label)], 4)  # type: ignore[arg-type]  # a list serves as a loader
    floating, _ = model.validate([(images(), label.float())], 4)  # type: ignore[arg-type]  # a list serves as a loader

    assert whole == floating
    prediction = model.predict(images(), 4)
    torch.testing.assert_close(
        model.loss(prediction, label)["total"], model.loss(prediction, label.float())["total"]
    )


# Metrics


def test_binary_metrics_are_those_of_the_foreground() -> None:
    model = awake(fire_rate=1.0)
    loader: Any = [(images()[:2], labels(1)[:2]), (images()[2:], labels(1)[2:, None])]

    values, _ = model.validate(loader, 4)

    flat = labels(1).flatten().numpy(), model.predict(images(), 4).mask.flatten().numpy()  # type: ignore[attr-defined]  # a segmentation's own attribute
    assert values == {
        "dice": pytest.approx(f1_score(*flat), abs=1e-6),
        "iou": pytest.approx(jaccard_score(*flat), abs=1e-6),
    }


@pytest.mark.parametrize("count", [3, 12])
def test_metrics_of_classes_are_their_values_and_mean(count: int) -> None:
    model = awake(num_classes=count, fire_rate=1.0)
    loader: Any = [(images(), labels(count))]

    values, _ = model.validate(loader, 4)

    flat = labels(count).flatten().numpy(), model.predict(images(), 4).mask.flatten().numpy()  # type: ignore[attr-defined]  # a segmentation's own attribute
    for name, reference in (("dice", f1_score), ("iou", jaccard_score)):
        assert values[name] == pytest.approx(reference(*flat, average="macro"), abs=1e-6)
        each = reference(*flat, average=None)
        assert [values[f"{name}_class_{k}"] for k in range(count)] == pytest.approx(each, abs=1e-6)


def test_the_best_weights_are_those_of_the_highest_dice() -> None:
    model = awake()

    assert model.validation_metric == "dice"
    assert model.named_metrics()["dice"].higher_is_better is True


def test_metrics_are_parts_of_the_model_but_not_of_its_weights() -> None:
    model = awake(num_classes=3)

    assert set(model.metrics) == {"dice", "iou", "dice_class", "iou_class"}
    assert not any("metrics" in name for name in model.state_dict())


# Saving and arguments


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {
            "num_classes": 12,
            "ignore_index": 255,
            "lambda_hidden": 0.5,
            "fire_rate": 0.25,
            "num_learned_filters": 0,
            "use_laplace": True,
            "filter_padding": "reflect",
            "pad_noise": True,
            "training_timesteps": (3, 5),
            "validation_metric": "iou",
        },
    ],
)
def test_a_model_survives_saving(tmp_path: Any, arguments: dict[str, Any]) -> None:
    model = awake(**arguments)

    model.save_pretrained(tmp_path)
    twin = AbstractNCAModel.from_pretrained(tmp_path)

    assert isinstance(twin, SegmentationNCAModel)
    assert twin.to_dict() == model.to_dict() == json.loads(json.dumps(model.to_dict()))
    assert {name: model.to_dict()[name] for name in arguments} == {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in arguments.items()
    }
    assert torch.equal(
        twin.predict(images(), 3, seed=1).logits, model.predict(images(), 3, seed=1).logits
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"num_classes": 0}, ValueError, "num_classes must be at least 1, got 0"),
        ({"num_classes": 1.5}, TypeError, "num_classes must be an integer, got 1.5"),
        ({"lambda_hidden": -1}, ValueError, "lambda_hidden must be at least 0 and finite, got -1"),
        ({"ignore_index": "void"}, TypeError, "ignore_index must be an integer or None"),
    ],
)
def test_bad_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        SegmentationNCAModel(CPU, **arguments)
