"""Members that a cascade shares with the model it wraps: weights, loss, metrics, methods, files."""

import copy
import inspect
import json
import pickle
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from cascade_models import (
    CPU,
    KINDS,
    HeadModel,
    LinearHead,
    ScoreModel,
    StrictModel,
    cascade_of,
    images,
    make,
)
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.automaton import Automaton
from ncalab.core.testing import awaken
from ncalab.tasks import CascadeNCA, GrowingNCAModel
from ncalab.tasks.cascade.delegation import Delegation

BOTH = pytest.mark.parametrize("separate", [False, True])
EVERY_KIND = pytest.mark.parametrize("kind", KINDS)


def label_of(prediction: Prediction) -> Tensor:
    return torch.rand(prediction.logits.shape, generator=torch.Generator().manual_seed(8))


@BOTH
@EVERY_KIND
def test_every_parameter_gets_a_gradient_at_every_scale(kind: str, separate: bool) -> None:
    cascade = cascade_of(make(kind, num_learned_filters=2), separate=separate)
    prediction = cascade(torch.rand(2, cascade.num_channels, 8, 8), 9)

    cascade.loss(prediction, label_of(prediction))["total"].backward()

    dead = [n for n, p in cascade.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    assert dead == []


@EVERY_KIND
def test_shared_weights_are_counted_and_saved_once(kind: str) -> None:
    model = make(kind, num_learned_filters=2)
    cascade = cascade_of(model)

    assert cascade.models == [model] * 3
    assert cascade.num_trainable_parameters() == model.num_trainable_parameters()
    assert {f"wrapped.{name}" for name in model.state_dict()} == set(cascade.state_dict())


@EVERY_KIND
def test_separate_weights_start_equal_and_are_counted_and_saved_once(kind: str) -> None:
    model = make(kind, num_learned_filters=2)
    cascade = CascadeNCA(model, [4, 2, 1], [1, 1, 1], single_model=False)

    of_rule = {n: v for n, v in model.state_dict().items() if not n.startswith("head")}
    assert cascade.models[2] is model and len(set(map(id, cascade.models))) == 3
    for twin in cascade.models[:2]:
        assert twin.state_dict().keys() == of_rule.keys()
        for name, value in twin.state_dict().items():
            assert torch.equal(value, of_rule[name])
            assert value.data_ptr() != of_rule[name].data_ptr()
    rule_size = sum(value.numel() for value in of_rule.values())
    assert cascade.num_trainable_parameters() == 2 * rule_size + model.num_trainable_parameters()
    assert len(cascade.state_dict()) == 2 * len(of_rule) + len(model.state_dict())


@BOTH
def test_an_optimizer_changes_the_weights_of_all_scales(separate: bool) -> None:
    cascade = cascade_of("scores", separate=separate)
    before = [p.detach().clone() for model in cascade.models for p in model.parameters()]
    optimizer = torch.optim.SGD(cascade.parameters(), lr=1.0)

    prediction = cascade(torch.rand(2, cascade.num_channels, 8, 8), 9)
    cascade.loss(prediction, label_of(prediction))["total"].backward()
    optimizer.step()

    after = [p for model in cascade.models for p in model.parameters()]
    assert not any(torch.equal(old, new) for old, new in zip(before, after, strict=True))


@BOTH
@EVERY_KIND
def test_a_configuration_survives_json(kind: str, separate: bool) -> None:
    model = make(kind, filter_padding="circular", num_learned_filters=2, kernel_size=5)
    cascade = cascade_of(model, separate=separate, training_timesteps=(5, 9))

    twin = AbstractNCAModel.from_dict(json.loads(json.dumps(cascade.to_dict())))

    assert isinstance(twin, CascadeNCA)
    assert type(twin.wrapped) is type(model)
    assert twin.to_dict() == cascade.to_dict()
    assert twin.training_timesteps == (5, 9)
    assert [m.kernel_size for m in twin.models] == [5, 5, 5]
    assert [m.filter_padding for m in twin.models] == ["circular"] * 3
    shapes, twins = ({k: v.shape for k, v in m.state_dict().items()} for m in (cascade, twin))
    assert shapes == twins


@BOTH
@EVERY_KIND
def test_a_saved_cascade_predicts_the_same(kind: str, separate: bool, tmp_path: Path) -> None:
    cascade = cascade_of(kind, separate=separate)
    cascade.save_pretrained(tmp_path / "cascade")
    cascade.save(tmp_path / "weights.safetensors")

    want = cascade.predict(images(13, 6), seed=1)
    for path in (tmp_path / "cascade", tmp_path / "weights.safetensors"):
        for twin in (CascadeNCA.from_pretrained(path), AbstractNCAModel.from_pretrained(path)):
            got = twin.predict(images(13, 6), seed=1)
            assert torch.equal(got.output_image, want.output_image)
            assert torch.equal(got.logits, want.logits)
    loaded = AbstractNCAModel.load(
        cascade_of(make(kind, awake=False), separate=separate), tmp_path / "weights.safetensors"
    )
    assert torch.equal(loaded.predict(images(13, 6), seed=1).logits, want.logits)


def test_weights_of_the_model_alone_are_no_cascade(tmp_path: Path) -> None:
    make("scores").save(tmp_path / "a.safetensors")

    with pytest.raises(ValueError, match="weights of CascadeNCA, got 'ScoreModel'"):
        CascadeNCA.load(cascade_of("scores"), tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "d must hold the wrapped model of a CascadeNCA, got None"),
        ({"wrapped": {"class": "NoSuchModel"}}, "'NoSuchModel' is not known"),
        ({"wrapped": make("scores").to_dict()}, "d must hold arguments of CascadeNCA"),
        ({"wrapped": cascade_of().to_dict(), "scales": [1], "steps": [1]}, "no cascade"),
        ({"wrapped": make().to_dict(), "scales": [1], "steps": [1], "wings": 2}, "wings"),
        ({"wrapped": make().to_dict(), "scales": [0], "steps": [1]}, r"scales\[0\] must be"),
    ],
)
def test_a_foreign_configuration_is_named(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AbstractNCAModel.from_dict({"class": "CascadeNCA", **config})


@EVERY_KIND
def test_what_is_not_about_scales_is_the_wrapped_models(kind: str) -> None:
    model = make(kind, validation_metric="mse", plot_function=Mock(), fire_rate=0.75)
    cascade = cascade_of(model)

    assert isinstance(cascade, AbstractNCAModel)
    for name in (
        "task",
        "plot_function",
        "validation_metric",
        "fire_rate",
        "num_image_channels",
        "num_hidden_channels",
        "num_output_channels",
        "num_channels",
        "immutable_image_channels",
        "pad_noise",
        "head",
        "metrics",
        "rule",
        "device",
        "dtype",
    ):
        assert getattr(cascade, name) is getattr(model, name) or (
            getattr(cascade, name) == getattr(model, name)
        )
    with pytest.raises(AttributeError, match="no attribute 'wings'"):
        _ = cascade.wings


@EVERY_KIND
def test_loss_and_read_out_are_the_wrapped_models(kind: str) -> None:
    cascade = cascade_of(kind)
    prediction = cascade.predict(images(8, 8))
    label = label_of(prediction)
    wrapped = cascade.wrapped

    assert prediction.model is cascade
    assert (prediction.head_prediction is not None) == (kind == "head")
    assert cascade.loss(prediction, label) == wrapped.loss(prediction, label)
    losses = [cascade.loss(prediction[i], label[i : i + 1])["total"] for i in range(2)]
    torch.testing.assert_close(cascade.sample_losses(prediction, label), torch.stack(losses))
    assert torch.equal(cascade.interpret(prediction), wrapped.interpret(prediction))
    assert prediction.hidden_channels.shape[1] == wrapped.num_hidden_channels


class FinishedModel(ScoreModel):
    """Overrides all that a task may."""

    def prepare_input(self, x: Tensor) -> Tensor:
        return x * 2

    def post_prediction(self, prediction: Prediction) -> Prediction:
        prediction.logits = prediction.logits.clamp(0, 1)
        return prediction

    def interpret(self, prediction: Prediction) -> Tensor:
        return prediction.logits.sigmoid()

    def validate(self, *args: Any, **options: Any) -> Any:
        values, predictions = super().validate(*args, **options)
        return {**values, "count": len(predictions)}, predictions


def test_what_a_task_overrides_is_in_force() -> None:
    cascade = cascade_of(FinishedModel(CPU))
    awaken(cascade, 5.0)

    record = cascade.record(images(8, 8), seed=1)

    assert torch.equal(record[-1].image_channels, images(8, 8) * 2)
    assert all(p.logits.min() >= 0 and p.logits.max() <= 1 for p in record)
    # What is returned is finished, what a rollout continues from is not.
    assert record[-1].output_channels.abs().max() > 1
    assert torch.equal(cascade.interpret(record[-1]), record[-1].logits.sigmoid())


@pytest.mark.parametrize("model_class", [ScoreModel, FinishedModel])
def test_validation_measures_the_cascade_and_not_the_model(model_class: Any) -> None:
    model = model_class(CPU, fire_rate=1.0)
    awaken(model, 0.2)
    cascade = cascade_of(model)
    labels = torch.rand(2, 2, 8, 8)
    loader: DataLoader[Any] = DataLoader(TensorDataset(images(8, 8), labels), batch_size=1)

    values, predictions = cascade.validate(loader)

    want = (cascade.predict(images(8, 8)).logits - labels).square().mean().item()
    assert values["mse"] == pytest.approx(want, rel=1e-5)
    assert [p.steps for p in predictions] == [9, 9]
    assert ("count" in values) == (model_class is FinishedModel)
    assert cascade.validate(loader, keep_predictions=False)[1] == []
    assert cascade.validate(loader, 3)[1][0].steps == 3


@pytest.mark.parametrize(("model_class", "first"), [(ScoreModel, 0), (StrictModel, 1)])
def test_methods_of_the_wrapped_class_predict_at_all_scales(model_class: Any, first: int) -> None:
    model = model_class(CPU)
    awaken(model, 0.5)
    cascade = cascade_of(model)

    classes = cascade.classify(images(8, 8), seed=3)

    want = cascade.predict(images(8, 8), seed=3).logits.argmax(dim=1) + first
    assert torch.equal(classes, want)
    assert not torch.equal(classes, model.classify(images(8, 8), 9, seed=3))


def test_a_growing_cascade_makes_seeds_and_grows() -> None:
    model = GrowingNCAModel(CPU, num_hidden_channels=4)
    cascade = CascadeNCA(model, [2, 1], [3, 4])

    grown = cascade.grow(cascade.make_seed(8, 6), steps=7, rollout_seed=1)

    want = cascade.predict(cascade.make_seed(8, 6), 7, seed=1).image_channels_np[0]
    assert [image.shape for image in grown] == [(8, 6, 4)] * 7
    assert (grown[-1] == want.transpose(1, 2, 0).clip(0, 1)).all()


def test_an_attribute_is_set_at_all_scales() -> None:
    cascade = cascade_of("scores", separate=True)

    cascade.fire_rate = 0.25
    cascade.pad_noise = True
    cascade.note = "mine"

    assert [model.fire_rate for model in cascade.models] == [0.25] * 3
    assert cascade.to_dict()["wrapped"]["fire_rate"] == 0.25
    assert cascade.wrapped.pad_noise
    assert not hasattr(cascade.wrapped, "note")


def test_a_head_that_is_set_reads_the_last_scale_alone() -> None:
    cascade = cascade_of("scores", separate=True)

    cascade.head = LinearHead(3)

    assert [model.head for model in cascade.models[:2]] == [None, None]
    assert cascade.wrapped.head is cascade.head
    assert cascade.predict(images(8, 8)).logits.shape == (2, 1)
    assert sum(name.endswith("head.linear.weight") for name in cascade.state_dict()) == 1


@pytest.mark.parametrize(("freeze_head", "heads"), [(False, 2), (True, 0)])
def test_finetuning_leaves_the_last_layer_of_every_scale(freeze_head: bool, heads: int) -> None:
    cascade = cascade_of("head", separate=True)

    cascade.eval().finetune(freeze_head=freeze_head)

    trainable = [name for name, p in cascade.named_parameters() if p.requires_grad]
    assert sum(name.endswith("rule.network.2.weight") for name in trainable) == 3
    assert len(trainable) == 3 + heads
    assert cascade.training and all(model.training for model in cascade.models)


@BOTH
def test_a_copy_is_a_cascade_of_its_own(separate: bool) -> None:
    cascade = cascade_of("head", separate=separate)
    want = cascade.predict(images(8, 8), seed=0).logits

    for twin in (copy.deepcopy(cascade), pickle.loads(pickle.dumps(cascade))):
        assert torch.equal(twin.predict(images(8, 8), seed=0).logits, want)
        for parameter in twin.parameters():
            nn.init.zeros_(parameter)
    assert torch.equal(cascade.predict(images(8, 8), seed=0).logits, want)


@BOTH
def test_device_and_dtype_follow_the_cascade(separate: bool) -> None:
    cascade = cascade_of("head", separate=separate)

    assert cascade.predict(images(8, 8).double()).logits.dtype == torch.float32
    assert cascade.double().predict(images(8, 8)).logits.dtype == torch.float64
    assert cascade.to("meta").device.type == "meta"
    assert all(model.device.type == "meta" for model in cascade.models)


@BOTH
@pytest.mark.parametrize("training", [False, True])
def test_a_cascade_is_in_the_mode_of_its_model(training: bool, separate: bool) -> None:
    cascade = cascade_of(make("scores").train(training), separate=separate)

    cascade.predict(images(8, 8))

    assert [m.training for m in (cascade, *cascade.models)] == [training] * 4


def test_a_heads_own_optimizer_stays_one() -> None:
    model = HeadModel(CPU)
    assert model.head is not None
    model.head.optimizer = torch.optim.SGD(model.head.parameters(), lr=1.0)

    cascade = CascadeNCA(model, [2, 1], [1, 1], single_model=False)

    assert cascade.head is model.head
    assert cascade.head.optimizer is model.head.optimizer


# They work on any model by what they call, or build and check one.
FROM_THE_BASE = {
    "_check_axes_of_rule",
    "_check_combinations",
    "_define_rule",
    "_define_perception",
    "_apply_rule",
    "_split_fixed",
    "_fire_mask",
    "start",
    "start_state",
    "continue_rollout",
    "predict",
    "record",
    "_draw_steps",
    "_measure",
    "_predict_tiled",
    "named_metrics",
    "extra_repr",
    "num_trainable_parameters",
}


def test_every_method_of_a_model_is_the_cascades_or_the_wrapped_models() -> None:
    methods = {name for name, _ in inspect.getmembers_static(AbstractNCAModel, inspect.isfunction)}
    floors = [cls for cls in AbstractNCAModel.__mro__ if issubclass(cls, Automaton)]
    of_models = {name for name in methods if any(name in vars(cls) for cls in floors)}

    missing = of_models - set(vars(CascadeNCA)) - set(vars(Delegation)) - FROM_THE_BASE

    assert not missing, f"decide in Delegation or CascadeNCA what {missing} means for a cascade"
