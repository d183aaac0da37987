import copy
import threading
from typing import Any

import pytest
import torch
from core_models import MakeModel, TinyModel
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError, MeanSquaredError, Metric, MetricCollection
from torchmetrics.classification import MulticlassAccuracy

from ncalab.core import MLPNCARule, Prediction
from ncalab.core.alive import alive_mask
from ncalab.core.rollout import rollout
from ncalab.core.testing import MeanHead

CPU = torch.device("cpu")


@pytest.mark.parametrize("steps", [1, 20])
@pytest.mark.parametrize("arguments", [{}, {"use_temporal_encoding": True}, {"pad_noise": True}])
def test_record_ends_with_what_predict_returns(
    make_model: MakeModel, image: Tensor, steps: int, arguments: dict[str, Any]
) -> None:
    model = make_model(**arguments)

    record = model.record(image, steps, seed=6)
    prediction = model.predict(image, steps, seed=6)

    assert torch.equal(record[-1].output_image, prediction.output_image)
    assert [p.steps for p in record] == list(range(1, steps + 1))


def test_an_unwatched_rollout_lays_out_no_states(
    make_model: MakeModel, image: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    watches: list[Any] = []

    def note(*arguments: Any, on_step: Any, **options: Any) -> Tensor:
        watches.append(on_step)
        return rollout(*arguments, on_step=on_step, **options)

    monkeypatch.setattr("ncalab.core.model.rollout", note)
    make_model().predict(image, 3)

    assert watches == [None]


def test_record_and_predict_draw_alike_from_the_default_generator(
    make_model: MakeModel, image: Tensor
) -> None:
    model = make_model(pad_noise=True, inference_timesteps=(3, 9))

    torch.manual_seed(0)
    record = model.record(image)
    torch.manual_seed(0)
    prediction = model.predict(image)

    assert torch.equal(record[-1].output_image, prediction.output_image)


def test_record_knows_the_step_in_its_temporal_encoding(
    make_model: MakeModel, image: Tensor
) -> None:
    model = make_model(use_temporal_encoding=True)

    record = model.record(image, 5, seed=6)

    for prediction in record:
        alone = model.predict(image, prediction.steps, seed=6)
        assert torch.equal(prediction.output_image, alone.output_image)


def test_predictions_differ_unless_seeded(make_model: MakeModel, image: Tensor) -> None:
    model = make_model()

    assert not torch.equal(model.predict(image, 5).logits, model.predict(image, 5).logits)
    assert torch.equal(
        model.predict(image, 5, seed=1).logits, model.predict(image, 5, seed=1).logits
    )


def test_predict_restores_the_mode_and_needs_no_gradient(
    make_model: MakeModel, image: Tensor
) -> None:
    model = make_model().train()

    prediction = model.predict(image, 2)

    assert model.training
    assert not prediction.output_image.requires_grad


def test_predict_restores_the_mode_after_an_error(make_model: MakeModel) -> None:
    model = make_model().train()

    with pytest.raises(ValueError, match="channels"):
        model.predict(torch.rand(1, 7, 4, 4))
    assert model.training


def test_one_model_predicts_in_two_threads_at_once(make_model: MakeModel, image: Tensor) -> None:
    model = make_model().eval()
    want = [model.predict(image, 20, seed=s).logits for s in (1, 2)]
    got: dict[int, Tensor] = {}

    def run(seed: int) -> None:
        got[seed] = model.predict(image, 20, seed=seed, engine="reference").logits

    threads = [threading.Thread(target=run, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for seed in (1, 2):
        torch.testing.assert_close(got[seed], want[seed - 1], atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("outputs", "with_head", "shape"),
    [(2, False, (2, 2, 6, 9)), (0, False, (2, 4, 6, 9)), (2, True, (2, 3))],
)
def test_logits_are_head_or_output_or_image(
    make_model: MakeModel, image: Tensor, outputs: int, with_head: bool, shape: tuple[int, ...]
) -> None:
    model = make_model(num_output_channels=outputs)
    if with_head:
        model.head = MeanHead()

    prediction = model.predict(image, 2)

    assert prediction.logits.shape == shape
    assert (prediction.head_prediction is not None) == with_head


def test_no_output_channels_are_an_empty_tensor(make_model: MakeModel, image: Tensor) -> None:
    prediction = make_model(num_output_channels=0).predict(image, 1)

    assert prediction.output_channels.shape == (2, 0, 6, 9)
    assert prediction.output_channels_np.shape == (2, 0, 6, 9)


def test_steps_may_be_a_range(make_model: MakeModel, image: Tensor) -> None:
    model = make_model()

    counts = {model.predict(image, (2, 5)).steps for _ in range(60)}

    assert counts == {2, 3, 4}


def test_the_device_and_dtype_follow_the_model(make_model: MakeModel, image: Tensor) -> None:
    model = make_model()

    assert model.predict(image.double(), 1).logits.dtype == torch.float32
    assert model.double().predict(image, 1).logits.dtype == torch.float64
    assert model.to("meta").device.type == "meta"


def test_a_copy_is_a_model_of_its_own(make_model: MakeModel, image: Tensor) -> None:
    model = make_model()
    twin = copy.deepcopy(model)
    want = model.predict(image, 3, seed=0).logits

    nn.init.zeros_(twin.rule.get_parameter("network.2.weight"))

    assert twin.perception.nca is twin
    assert torch.equal(model.predict(image, 3, seed=0).logits, want)


def test_rule_arguments_are_in_force(make_model: MakeModel) -> None:
    model = make_model(rule_args={"nonlinearity": nn.Tanh})

    assert isinstance(model.rule, MLPNCARule)
    assert model.rule.nonlinearity is nn.Tanh


def test_alive_mask_reaches_one_cell_and_not_around_the_border() -> None:
    state = torch.zeros(1, 4, 5, 5)
    state[0, 3, 0, 4] = 0.11

    assert alive_mask(state).nonzero()[:, 2:].tolist() == [[0, 3], [0, 4], [1, 3], [1, 4]]


@pytest.mark.parametrize(("freeze_head", "head"), [(False, ["head.scale"]), (True, [])])
def test_finetune_leaves_the_last_layer_and_as_asked_the_head(
    make_model: MakeModel, freeze_head: bool, head: list[str]
) -> None:
    model = make_model(num_learned_filters=2)
    model.head = MeanHead()

    model.eval().finetune(freeze_head=freeze_head)

    trainable = [name for name, p in model.named_parameters() if p.requires_grad]
    assert trainable == ["rule.network.2.weight", *head]
    assert model.training


class WordMetric(Metric):
    """A metric that computes no number."""

    def update(self, prediction: Tensor, label: Tensor) -> None:
        pass

    def compute(self) -> str:
        return "far"


def labelled(image: Tensor) -> DataLoader[Any]:
    return DataLoader(TensorDataset(image, image[:, :2]), batch_size=1)


def test_validate_measures_all_batches(make_model: MakeModel, image: Tensor) -> None:
    model = make_model(fire_rate=1.0)
    model.metrics["mse"] = MeanSquaredError()

    values, predictions = model.validate(labelled(image), steps=3)

    want = (model.predict(image, 3).logits - image[:, :2]).square().mean()
    assert values["mse"] == pytest.approx(want.item(), rel=1e-5)
    assert len(predictions) == 2
    assert model.validate(labelled(image), steps=3, keep_predictions=False)[1] == []


def test_validate_names_the_value_of_each_class(make_model: MakeModel, image: Tensor) -> None:
    model = make_model(fire_rate=1.0)
    model.metrics["accuracy"] = MulticlassAccuracy(2, average="none")
    loader: Any = [(image, torch.zeros(2, 6, 9, dtype=torch.int64))]

    values, _ = model.validate(loader, steps=3)

    share = (model.predict(image, 3).logits.argmax(dim=1) == 0).float().mean().item()
    assert values == {"accuracy_0": pytest.approx(share), "accuracy_1": 0.0}


def test_validate_names_what_a_collection_of_metrics_computes(
    make_model: MakeModel, image: Tensor
) -> None:
    model = make_model(fire_rate=1.0)
    model.metrics["mse"] = MeanSquaredError()
    model.metrics["errors"] = MetricCollection([MeanSquaredError(), MeanAbsoluteError()])

    values, _ = model.validate(labelled(image), steps=3)

    assert set(values) == {"mse", "errors_MeanAbsoluteError", "errors_MeanSquaredError"}
    assert values["errors_MeanSquaredError"] == values["mse"] > 0


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (nn.MSELoss(), "must be a torchmetrics Metric or MetricCollection, got MSELoss"),
        (WordMetric(), "must compute numbers, got str"),
    ],
)
def test_validate_names_what_is_no_metric(
    make_model: MakeModel, image: Tensor, metric: Any, message: str
) -> None:
    model = make_model()
    model.metrics["odd"] = metric

    with pytest.raises(TypeError, match=rf"metrics\['odd'\] {message}"):
        model.validate(labelled(image), steps=3)


def test_seeds_make_a_validation_repeatable(make_model: MakeModel, image: Tensor) -> None:
    model = make_model(pad_noise=True)
    model.metrics["mse"] = MeanSquaredError()

    values, predictions = model.validate(labelled(image), steps=3, seeds=[7, 8])

    assert model.validate(labelled(image), steps=3, seeds=[7, 8])[0] == values
    want = model.predict(image[1:], 3, seed=8).output_image
    assert torch.equal(predictions[1].output_image, want)


def test_a_validation_needs_a_seed_for_every_batch(make_model: MakeModel, image: Tensor) -> None:
    with pytest.raises(ValueError, match="seeds must be one for every batch, got 1"):
        make_model().validate(labelled(image), steps=3, seeds=[7])


def test_checkpointing_changes_no_gradient(make_model: MakeModel) -> None:
    gradients = []
    for checkpoint in (None, "auto", 2):
        model = make_model()
        model.zero_grad()
        x = torch.linspace(0, 1, 9 * 54).view(1, 9, 6, 9)
        model(x, 7, seed=3, checkpoint=checkpoint).logits.square().sum().backward()
        gradients.append([p.grad for p in model.parameters()])

    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], atol=1e-5, rtol=1e-4)


def test_validate_refuses_an_empty_loader(make_model: MakeModel) -> None:
    with pytest.raises(ValueError, match="dataloader must yield at least one batch"):
        make_model().validate(DataLoader(TensorDataset(torch.empty(0, 4, 3, 3))))


def test_sample_losses_are_those_of_each_sample_alone(make_model: MakeModel, image: Tensor) -> None:
    model = make_model()
    prediction: Prediction = model(torch.rand(2, 9, 6, 9), 2)
    label = image[:, :2]

    losses = model.sample_losses(prediction, label)

    want = (prediction.logits - label).square().mean(dim=(1, 2, 3)).detach()
    torch.testing.assert_close(losses, want)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_image_channels": 0}, "num_image_channels must be at least 1, got 0"),
        ({"num_hidden_channels": -1}, "num_hidden_channels must be at least 0, got -1"),
        ({"fire_rate": 1.5}, r"fire_rate must be in \[0, 1\], got 1.5"),
        ({"fire_rate": float("nan")}, r"fire_rate must be in \[0, 1\], got nan"),
        ({"filter_padding": "same"}, "filter_padding must be one of zero, .*got 'same'"),
        ({"kernel_size": 4, "num_learned_filters": 1}, "kernel_size must be odd, got 4"),
        ({"kernel_size": 5}, "kernel_size must be 3 for the fixed filters"),
        ({"use_laplace": True, "num_learned_filters": 1}, "use_laplace must be False with learned"),
        ({"use_alive_mask": True, "num_image_channels": 3}, "use_alive_mask must be False without"),
        ({"use_alive_mask": "no"}, "use_alive_mask must be True or False, got 'no'"),
        ({"immutable_image_channels": 1}, "immutable_image_channels must be True or False, got 1"),
        ({"use_laplace": "no"}, "use_laplace must be True or False, got 'no'"),
        ({"pad_noise": None}, "pad_noise must be True or False, got None"),
        ({"use_temporal_encoding": "no"}, "use_temporal_encoding must be True or False"),
        ({"training_timesteps": (5, 5)}, r"training_timesteps must be a pair .* got \(5, 5\)"),
        ({"inference_timesteps": 0}, "inference_timesteps must be at least 1, got 0"),
    ],
)
def test_bad_arguments_are_named(change: dict[str, Any], message: str) -> None:
    arguments = {"num_image_channels": 4, "num_hidden_channels": 3, "num_output_channels": 2}

    with pytest.raises((ValueError, TypeError), match=message):
        TinyModel(CPU, **{**arguments, **change})


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.rand(4, 5, 5), ValueError, r"must have shape \(B, C, W, H\)"),
        (torch.rand(1, 1, 5, 5), ValueError, "must have 4 channels .* or 9 .* got 1"),
        (torch.ones(1, 4, 5, 5).int(), TypeError, "must be floating point, got torch.int32"),
        ([[1.0]], TypeError, "must be a tensor, got list"),
    ],
)
def test_bad_images_are_named(
    make_model: MakeModel, image: Any, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        make_model().predict(image, 1)


def test_going_on_is_as_if_the_rollout_had_not_ended(make_model: MakeModel) -> None:
    model = make_model(use_temporal_encoding=True)
    x = torch.rand(2, model.num_channels, 6, 9)
    first = rollout(model, x, 3, seed=4, samples=[2, 5])

    whole = model.continue_rollout(first, 2, start=3, seed=4, samples=[2, 5])

    assert torch.equal(whole, rollout(model, x, 5, seed=4, samples=[2, 5]))


def test_the_repr_names_channels_steps_and_parameters(make_model: MakeModel) -> None:
    model = make_model(training_timesteps=(8, 12), inference_timesteps=9, fire_rate=0.25)

    text = repr(model)

    assert "  channels: 4 image | 3 hidden | 2 output\n" in text
    assert "  steps: (8, 12) in training, 9 else; fire_rate=0.25\n" in text
    assert f"  {sum(p.numel() for p in model.parameters()):,} parameters on cpu\n" in text
    assert "BasicNCAPerception(2 Sobel filters, padding='reflect')" in text


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("dt", 0, "dt must be above 0 and finite, got 0"),
        ("dt", -1, "dt must be above 0 and finite, got -1"),
        ("dt", True, "dt must be a number, got True"),
        ("dt", "a", "dt must be a number, got 'a'"),
        ("fire_rate", 2, r"fire_rate must be in \[0, 1\], got 2"),
        ("fire_rate", float("nan"), r"fire_rate must be in \[0, 1\], got nan"),
        ("fire_rate", True, "fire_rate must be a number, got True"),
    ],
)
def test_what_may_be_set_later_is_checked_when_it_is_set(
    make_model: MakeModel, name: str, value: Any, message: str
) -> None:
    model = make_model(dt=0.5, fire_rate=0.25)

    with pytest.raises((TypeError, ValueError), match=message):
        setattr(model, name, value)

    assert (model.dt, model.fire_rate) == (0.5, 0.25)
