"""Errors that would end a training later on are raised before the first batch."""

import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torchmetrics import MeanAbsoluteError, MeanSquaredError, MetricCollection
from train_models import EchoModel, equal, loader, make_tiny, weights

from ncalab.core import Prediction
from ncalab.train import BasicNCATrainer, TrainingHistory
from ncalab.train.preflight import why_not_rebuilt


def collection() -> MetricCollection:
    return MetricCollection({"mean": MeanSquaredError(), "absolute": MeanAbsoluteError()})


def train(nca: EchoModel, folder: Path | None = None, **arguments: Any) -> TrainingHistory:
    trainer = BasicNCATrainer(nca, folder, max_epochs=2, progress=False, **arguments)
    return trainer.train(loader(), loader())


def refuses(nca: EchoModel, folder: Path | None, error: type[Exception], message: str) -> None:
    """Raise unless a training is refused, and nothing has happened."""
    before = weights(nca)
    with pytest.raises(error, match=message):
        train(nca, folder)
    assert equal(before, weights(nca))
    assert folder is None or not folder.exists()


def prune(nca: EchoModel) -> None:
    layer = nca.rule.get_submodule("network.0")
    nn.utils.prune.l1_unstructured(layer, "weight", amount=0.5)


def normalize(nca: EchoModel) -> None:
    layer = nca.rule.get_submodule("network.0")
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(layer)


def reparametrize(nca: EchoModel) -> None:
    nn.utils.parametrizations.weight_norm(nca.rule.get_submodule("network.0"))


def tie(nca: EchoModel) -> None:
    first = nca.rule.get_submodule("network.0")
    nca.rule.register_parameter("tied", first.get_parameter("weight"))


UNUSUAL = [prune, normalize, reparametrize, tie]


@pytest.mark.parametrize("change", UNUSUAL)
@pytest.mark.parametrize("average", [None, 0.9])
def test_models_with_unusual_weights_are_trained_saved_and_loaded(
    change: Any, average: float | None, tmp_path: Path
) -> None:
    nca = make_tiny(validation_metric="mse")
    change(nca)

    history = train(nca, tmp_path, ema_decay=average)

    assert history.best_model is not None
    twin = make_tiny()
    change(twin)
    image = next(iter(loader()))[0]
    for model, name in ((nca, "last_model"), (history.best_model, "best_model")):
        EchoModel.load(twin, tmp_path / f"{name}.safetensors")
        want = model.predict(image, seed=1).logits
        torch.testing.assert_close(twin.predict(image, seed=1).logits, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize("change", UNUSUAL)
def test_their_trainings_are_resumed(change: Any, tmp_path: Path) -> None:
    losses = []
    for name, lengths in (("whole", [4]), ("parts", [2, 4])):
        for length in lengths:
            nca = make_tiny()
            change(nca)
            trainer = BasicNCATrainer(nca, tmp_path / name, max_epochs=length, progress=False)
            history = trainer.train(loader(), resume=True)
        losses.append(history.loss)

    assert losses[0] == losses[1]


def test_a_collection_of_metrics_is_measured_and_saved(tmp_path: Path) -> None:
    nca = make_tiny(validation_metric="mse")
    nca.metrics["suite"] = collection()

    history = train(nca, tmp_path)

    assert history.metric_curves["suite_mean"] == history.metric_curves["mse"]
    assert len(history.metric_curves["suite_absolute"]) == 2


def test_a_metric_of_a_collection_may_decide() -> None:
    nca = make_tiny(validation_metric="suite_absolute")
    nca.metrics["suite"] = collection()

    history = train(nca)

    assert history.best_accuracy == min(history.metric_curves["suite_absolute"])


def test_a_collection_as_a_whole_cannot_decide() -> None:
    nca = make_tiny(validation_metric="suite")
    nca.metrics["suite"] = collection()

    refuses(nca, None, ValueError, r"metric of the model \(.*suite_absolute, .*, got 'suite'")


def test_what_is_no_metric_is_refused() -> None:
    nca = make_tiny(validation_metric="mse")
    nca.metrics["layer"] = nn.Linear(1, 1)

    refuses(nca, None, TypeError, r"metrics\['layer'\] must be a torchmetrics Metric, got Linear")


def test_a_metric_of_several_values_is_refused_before_an_epoch() -> None:
    class PairError(MeanSquaredError):
        def compute(self) -> Tensor:
            return super().compute() * torch.ones(2)

    nca = make_tiny(validation_metric="halves")
    nca.metrics["halves"] = PairError()

    refuses(nca, None, ValueError, "one value, got 'halves' with halves_0, halves_1")


def test_a_model_that_cannot_be_copied_is_refused() -> None:
    nca = make_tiny(validation_metric="mse")
    nca.lock = threading.Lock()  # type: ignore[assignment]  # what no copy can have

    refuses(nca, None, ValueError, "nca must be a model that can be copied, .*TypeError: cannot")


def test_a_model_that_cannot_be_saved_is_refused_and_leaves_no_folder(tmp_path: Path) -> None:
    nca = make_tiny(validation_metric="mse")
    nca.rule_args = {"nonlinearity": object()}

    refuses(nca, tmp_path / "a" / "run", TypeError, "rule_args must be data that JSON can hold")
    assert not (tmp_path / "a").exists()


def test_a_model_that_its_configuration_does_not_describe_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nca = make_tiny(validation_metric="mse")
    nca.register_buffer("counts", torch.zeros(3))
    state = torch.get_rng_state()

    assert why_not_rebuilt(nca) == (
        "it does not fit EchoModel: it lacks [], and has extra ['counts']"
    )
    assert torch.equal(torch.get_rng_state(), state)
    train(nca, tmp_path / "changed")
    assert "will not rebuild this model from what is saved (it does not fit" in caplog.text
    caplog.clear()
    train(make_tiny(validation_metric="mse"), tmp_path / "plain")
    assert not caplog.records


def test_a_model_without_anything_to_train_is_refused(tmp_path: Path) -> None:
    nca = make_tiny(validation_metric="mse").requires_grad_(False)

    refuses(nca, tmp_path / "run", ValueError, "nca must have parameters to train, got none")


def test_a_loss_that_is_not_made_of_scalars_is_told_in_the_first_batch() -> None:
    class Wide(EchoModel):
        def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
            losses = super().loss(pred, label)
            return {**losses, "each": (pred.logits - label).mean(dim=(1, 2, 3))}

    class Untotalled(EchoModel):
        def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
            return {"half": super().loss(pred, label)["half"]}

    with pytest.raises(ValueError, match=r"loss must return scalars, got shape \(4,\) for 'each'"):
        BasicNCATrainer(Wide(), None, progress=False).train(loader())
    with pytest.raises(ValueError, match="loss must return a 'total' among its terms, got half"):
        BasicNCATrainer(Untotalled(), None, progress=False).train(loader())


def test_training_works_in_double_precision_by_default(tmp_path: Path) -> None:
    from ncalab.train import Pool

    torch.set_default_dtype(torch.float64)
    try:
        nca = make_tiny(validation_metric="mse")
        history = train(nca, tmp_path, pool=Pool(damage=True, size=4), ema_decay=0.9)
        assert nca.dtype == torch.float64
        trainer = BasicNCATrainer(
            nca,
            tmp_path,
            max_epochs=4,
            pool=Pool(damage=True, size=4),
            ema_decay=0.9,
            progress=False,
        )
        assert trainer.train(loader(), loader(), resume=True).loss[:2] == history.loss
    finally:
        torch.set_default_dtype(torch.float32)
