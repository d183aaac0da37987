import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau, StepLR
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanSquaredError
from train_models import EchoModel, equal, loader, make_tiny, weights

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.testing import MeanHead
from ncalab.train import BasicNCATrainer, EarlyStopping, Pool, TrainingHistory
from ncalab.train.optimizers import OPTIMIZERS


def trainer(nca: AbstractNCAModel, path: Path | None = None, **arguments: Any) -> BasicNCATrainer:
    return BasicNCATrainer(nca, path, **{"max_epochs": 2, "progress": False, **arguments})


def train_tiny(path: Path | None = None, **arguments: Any) -> tuple[EchoModel, TrainingHistory]:
    nca = make_tiny()
    return nca, trainer(nca, path, **arguments).train(loader())


def test_training_lowers_the_loss() -> None:
    _, history = train_tiny(max_epochs=40, lr=1e-2, lr_gamma=1.0)

    assert history.loss[-1] < history.loss[0] / 2


def test_the_same_seed_gives_the_same_weights_to_the_bit() -> None:
    results = []
    for _ in range(2):
        nca, _ = train_tiny(max_epochs=10, pool=Pool(damage=True, p_damage=0.5))  # 20 iterations
        results.append(weights(nca))

    assert equal(*results)


@pytest.mark.parametrize("method", OPTIMIZERS)
def test_every_optimiser_trains(method: str) -> None:
    nca = make_tiny()
    before = weights(nca)
    run = trainer(nca, optimizer_method=method.upper())

    optimizer, _, _ = run._make_optimizers()
    run.train(loader())

    assert type(optimizer) is OPTIMIZERS[method]
    assert not equal(before, weights(nca))


def test_an_unknown_optimiser_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="optimizer_method must be one of adam, .*got 'lion'"):
        trainer(make_tiny(), optimizer_method="lion")


def test_the_learning_rate_decays_by_gamma_each_epoch() -> None:
    _, history = train_tiny(max_epochs=4, lr=0.1, lr_gamma=0.5)

    assert history.lr == pytest.approx([0.1, 0.05, 0.025, 0.0125])


def test_a_schedule_may_step_with_every_batch() -> None:
    _, history = train_tiny(max_epochs=2, lr=0.1, lr_gamma=0.5, scheduler_interval="batch")

    assert history.lr == pytest.approx([0.1, 0.025])


def test_a_given_scheduler_is_in_force_with_its_optimiser() -> None:
    nca = make_tiny()
    optimizer = torch.optim.SGD(nca.parameters(), lr=0.3)
    run = trainer(nca, lr_scheduler=StepLR(optimizer, 2, 0.1), max_epochs=4)

    assert run._make_optimizers()[0] is optimizer
    assert run.train(loader()).lr == pytest.approx([0.3, 0.3, 0.03, 0.03])


def test_a_scheduler_may_be_made_for_the_trainers_optimiser() -> None:
    _, history = train_tiny(lr=0.2, max_epochs=3, lr_scheduler=lambda o: StepLR(o, 1, 0.5))

    assert history.lr == pytest.approx([0.2, 0.1, 0.05])


def test_reduce_on_plateau_sees_the_loss() -> None:
    nca = make_tiny()
    nca.requires_grad_(False)
    nca.rule.get_parameter("network.0.bias").requires_grad_(True)  # zero gradient: a plateau
    run = trainer(
        nca, lr=0.2, max_epochs=3, lr_scheduler=lambda o: ReduceLROnPlateau(o, patience=0)
    )

    assert run.train(loader()).lr == pytest.approx([0.2, 0.2, 0.02])


def test_the_scheduler_of_another_model_is_refused() -> None:
    other = StepLR(torch.optim.SGD(make_tiny().parameters(), lr=0.1), 1)

    with pytest.raises(ValueError, match="lr_scheduler must belong to an optimiser of the trained"):
        trainer(make_tiny(), lr_scheduler=other)


def gradients_in_step(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> list[list[Tensor]]:
    """Return the gradients that the optimiser saw in each step."""
    seen: list[list[Tensor]] = []
    step = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, *args: Any, **kwargs: Any) -> Any:
        seen.append([p.grad.clone() for g in self.param_groups for p in g["params"]])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    nca = make_tiny()
    nca.loss = lambda pred, label: {"total": 1e4 * EchoModel.loss(nca, pred, label)["total"]}  # type: ignore[method-assign]  # gradients too large to pass
    trainer(nca, optimizer_method="sgd", lr=1e-6, **arguments).train(loader())
    return seen


def test_clipping_bounds_the_norm_of_all_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    for gradients in gradients_in_step(monkeypatch, gradient_clipping=True):
        assert torch.cat([g.flatten() for g in gradients]).norm().item() == pytest.approx(1)


def test_normalization_gives_every_tensor_length_one(monkeypatch: pytest.MonkeyPatch) -> None:
    last = gradients_in_step(monkeypatch, gradient_normalization=True)[-1]

    assert [g.norm().item() for g in last] == pytest.approx([1] * len(last), rel=1e-4)


def test_batches_are_repeated_and_steps_drawn_from_the_range() -> None:
    nca = make_tiny()
    seen: list[tuple[int, int]] = []
    forward = nca.forward

    def spy(x: Tensor, steps: int = 1, **rest: Any) -> Prediction:
        seen.append((x.shape[0], steps))
        return forward(x, steps, **rest)

    nca.forward = spy  # type: ignore[method-assign]  # to count
    trainer(nca, batch_repeat=3, max_epochs=10).train(loader(count=5))

    assert {batch for batch, _ in seen} == {6, 3}  # five samples in batches of two
    assert {steps for _, steps in seen} == {2, 3}  # the range excludes its end


def test_the_last_epoch_is_always_saved(tmp_path: Path) -> None:
    nca, _ = train_tiny(tmp_path, max_epochs=4)
    run = trainer(nca, tmp_path, max_epochs=4)
    run.train(loader(), save_every=3, overwrite=True)

    saved = AbstractNCAModel.load(make_tiny(), tmp_path / "last_model.safetensors")

    assert equal(weights(saved), weights(nca))
    assert json.loads((tmp_path / "history.json").read_text())["current_epoch"] == 4


def test_saves_happen_every_so_many_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    monkeypatch.setattr(TrainingHistory, "save", lambda self: saved.append(self.current_epoch))

    trainer(make_tiny(), tmp_path, max_epochs=7).train(loader(), save_every=3)

    assert saved == [3, 6, 7]


def test_the_history_on_disk_has_all_curves(tmp_path: Path) -> None:
    nca = make_tiny(validation_metric="mse")
    history = trainer(nca, tmp_path, max_epochs=3).train(loader(), loader(), loader())

    stored = json.loads((tmp_path / "history.json").read_text())

    assert stored["curves"]["losses"] == history.losses
    assert history.losses["half"] == pytest.approx([value / 2 for value in history.loss])
    assert set(stored["curves"]["metrics"]) == {"mse", "negative"}
    assert {len(curve) for curve in stored["curves"]["metrics"].values()} == {3}
    assert stored["curves"]["lr"] == history.lr
    assert len(stored["curves"]["seconds"]) == 3
    assert stored["test_metrics"]["mse"] == pytest.approx(history.test_metrics["mse"])
    assert AbstractNCAModel.registry["EchoModel"] and stored["model"]["class"] == "EchoModel"


@pytest.mark.parametrize(("metric", "best"), [("mse", min), ("negative", max)])
def test_the_best_epoch_is_that_of_the_metric(tmp_path: Path, metric: str, best: Any) -> None:
    nca = make_tiny(validation_metric=metric)
    history = trainer(nca, tmp_path, max_epochs=6, lr=0.1, lr_gamma=1.0).train(loader(), loader())

    curve = history.metric_curves[metric]
    assert history.best_accuracy == best(curve)
    assert history.best_epoch == curve.index(best(curve)) + 1
    assert isinstance(history.best_model, EchoModel)
    stored = AbstractNCAModel.load(make_tiny(), tmp_path / "best_model.safetensors")
    assert equal(weights(stored), weights(history.best_model))


def test_without_validation_the_lowest_loss_is_best() -> None:
    nca, history = train_tiny(max_epochs=5)

    assert history.best_accuracy == min(history.loss)
    assert history.current_model is nca


@pytest.mark.parametrize("with_validation", [False, True])
def test_early_stopping_ends_the_training_and_saves(tmp_path: Path, with_validation: bool) -> None:
    nca = make_tiny(validation_metric="negative", fire_rate=0.0)  # nothing can be learned
    validation = loader() if with_validation else None

    history = trainer(nca, tmp_path, max_epochs=50).train(
        loader(), validation, earlystopping=EarlyStopping(patience=3), save_every=10
    )

    assert history.current_epoch == 4
    assert json.loads((tmp_path / "history.json").read_text())["current_epoch"] == 4


class InterruptingLoader(DataLoader[Any]):
    """Presses Ctrl-C in its third epoch."""

    epochs = 0

    def __iter__(self) -> Any:
        self.epochs += 1
        if self.epochs == 3:
            raise KeyboardInterrupt
        return super().__iter__()


def test_ctrl_c_leaves_a_usable_run(tmp_path: Path) -> None:
    nca = make_tiny()
    data = InterruptingLoader(loader().dataset, batch_size=2)

    history = trainer(nca, tmp_path, max_epochs=9).train(data, save_every=100)

    stored = json.loads((tmp_path / "history.json").read_text())
    assert history.interrupted and stored["interrupted"]
    assert stored["current_epoch"] == len(stored["curves"]["lr"]) == 2
    for name in ("last_model", "best_model"):
        EchoModel.from_pretrained(tmp_path / f"{name}.safetensors")


def test_a_loss_that_is_no_longer_finite_ends_the_training(tmp_path: Path) -> None:
    nca = make_tiny()
    good = trainer(nca, tmp_path)
    good.train(loader())
    before = (tmp_path / "last_model.safetensors").read_bytes()
    nca.loss = lambda pred, label: {"total": pred.logits.sum() * math.nan}  # type: ignore[method-assign]  # the fault under test

    with pytest.raises(RuntimeError, match="loss must stay finite, got .*nan.* in epoch 1"):
        trainer(nca, tmp_path).train(loader(), overwrite=True)

    assert (tmp_path / "last_model.safetensors").read_bytes() == before


def test_a_finished_run_is_not_overwritten_unasked(tmp_path: Path) -> None:
    train_tiny(tmp_path)
    before = (tmp_path / "last_model.safetensors").read_bytes()

    with pytest.raises(ValueError, match="model_path must not hold a finished run"):
        train_tiny(tmp_path, max_epochs=1)

    assert (tmp_path / "last_model.safetensors").read_bytes() == before


def test_a_folder_that_is_a_file_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("precious")
    nca = make_tiny()
    before = weights(nca)

    with pytest.raises(ValueError, match="model_path must be a writable folder"):
        trainer(nca, tmp_path / "file").train(loader())

    assert equal(before, weights(nca))
    assert (tmp_path / "file").read_text() == "precious"


def test_an_empty_loader_is_named() -> None:
    with pytest.raises(ValueError, match=r"dataloader_train must yield .*\(3 samples, drop_last"):
        trainer(make_tiny()).train(loader(count=3, batch_size=4, drop_last=True))
    with pytest.raises(ValueError, match="dataloader_val must yield"):
        trainer(make_tiny(validation_metric="mse")).train(
            loader(), loader(count=3, batch_size=4, drop_last=True)
        )
    with pytest.raises(ValueError, match="dataloader_test must yield"):
        trainer(make_tiny()).train(loader(), None, loader(count=3, batch_size=4, drop_last=True))


def test_a_function_that_makes_no_schedule_is_named() -> None:
    with pytest.raises(TypeError, match="lr_scheduler must return a scheduler, got None"):
        trainer(make_tiny(), lr_scheduler=lambda _: None).train(loader())


def test_validation_needs_a_known_metric() -> None:
    with pytest.raises(
        ValueError, match=r"validation_metric must be .*\(mse, negative\), got 'f1'"
    ):
        trainer(make_tiny(validation_metric="f1")).train(loader(), loader())


def test_batches_that_are_no_pairs_are_named() -> None:
    data: DataLoader[Any] = DataLoader(torch.rand(4, 1, 5, 4))  # type: ignore[arg-type]  # the fault under test

    with pytest.raises(ValueError, match=r"batches must be pairs \(images, labels\), got Tensor"):
        trainer(make_tiny()).train(data)


def test_a_head_with_its_own_optimiser_is_stepped_once() -> None:
    nca = make_tiny()
    nca.head = head = MeanHead()
    head.optimizer = torch.optim.SGD(head.parameters(), lr=0.1)

    def loss(pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        return {"total": pred.logits.sum() + head.scale.sum()}

    nca.loss = loss  # type: ignore[method-assign]  # a gradient that is known
    trainer(nca, max_epochs=1).train(loader(count=2))

    # One batch: 1 - 0.1 * (1 + the mean of hidden channels, which are 0 before the first update).
    assert head.scale.item() == pytest.approx(0.9)


def test_the_loss_is_read_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    reads = 0
    originals = {name: getattr(Tensor, name) for name in ("item", "tolist", "__float__")}

    def count(name: str) -> Any:
        def read(self: Tensor, *arguments: Any) -> Any:
            nonlocal reads
            reads += self.requires_grad or self.dtype.is_floating_point
            return originals[name](self, *arguments)

        return read

    nca = make_tiny(training_timesteps=2)
    # Adam keeps its step counts in tensors on the CPU, which it reads for each parameter.
    run = trainer(nca, max_epochs=1, optimizer_method="sgd")
    for name in originals:
        monkeypatch.setattr(Tensor, name, count(name))
    run.train(loader(count=20, batch_size=1))

    assert reads == 1


class FakeWriter:
    """Takes note of what a TensorBoard writer is given."""

    def __init__(self) -> None:
        self.scalars: dict[str, list[tuple[float, int]]] = {}
        self.texts: list[str] = []
        self.figures: list[tuple[Any, int]] = []
        self.hparams: list[tuple[dict[str, Any], dict[str, float]]] = []

    def add_hparams(self, given: dict[str, Any], metrics: dict[str, float], run_name: str) -> None:
        self.hparams.append((given, metrics))

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.scalars.setdefault(tag, []).append((value, step))

    def add_text(self, tag: str, text: str) -> None:
        self.texts.append(text)

    def add_figure(self, tag: str, figure: Any, step: int) -> None:
        self.figures.append((figure, step))


class FakeVisual:
    """Returns the shapes that it is shown."""

    def show(self, model: Any, image: Any, prediction: Prediction, label: Any) -> Any:
        return image.shape, tuple(prediction.output_image.shape), label.shape


def test_tensorboard_gets_scalars_text_and_figures() -> None:
    writer: Any = FakeWriter()
    nca = make_tiny(validation_metric="mse")

    history = trainer(nca, max_epochs=4, lr=0.1, lr_gamma=0.5).train(
        loader(), loader(), summary_writer=writer, plot_function=FakeVisual(), save_every=3
    )

    assert len(writer.scalars["Loss/train_total"]) == len(writer.scalars["Loss/train_half"]) == 8
    assert [value for value, _ in writer.scalars["LR"]] == pytest.approx(history.lr)
    assert [value for value, _ in writer.scalars["Metric/val_mse"]] == history.metric_curves["mse"]
    assert "| lr | 0.1 |" in writer.texts[0]
    shapes = ((4, 4, 5, 4), (4, 4, 5, 4), (4, 1, 5, 4))
    assert writer.figures == [(shapes, 3)]


def test_a_task_without_a_visual_trains_without_figures(caplog: pytest.LogCaptureFixture) -> None:
    writer: Any = FakeWriter()

    with caplog.at_level("INFO"):
        trainer(make_tiny()).train(loader(), summary_writer=writer)

    assert writer.figures == []
    assert caplog.text.count("no installed package offers a visual for task 'tiny'") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.0}, "lr must be above 0 and finite, got 0.0"),
        ({"lr_gamma": -1.0}, "lr_gamma must be above 0"),
        ({"batch_repeat": 0}, "batch_repeat must be at least 1, got 0"),
        ({"max_epochs": 0}, "max_epochs must be at least 1, got 0"),
        ({"scheduler_interval": "hour"}, "scheduler_interval must be one of epoch, batch"),
        ({"lr": "0.1"}, "lr must be a number, got '0.1'"),
        ({"optimizer_method": 5}, "optimizer_method must be one of adam.* got '5'"),
        ({"adam_betas": 0.9}, "adam_betas must be a pair of numbers, got 0.9"),
        ({"adam_betas": (0.9, 1.0)}, r"adam_betas must be in \[0, 1\), got 1.0"),
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), got 1.0"),
        ({"pool": 8}, "pool must be a Pool or None, got int"),
        ({"gradient_clipping": "no"}, "gradient_clipping must be True or False, got 'no'"),
        ({"gradient_normalization": 1}, "gradient_normalization must be True or False, got 1"),
        ({"progress": "bar"}, "progress must be True or False, got 'bar'"),
        ({"skip_nonfinite": None}, "skip_nonfinite must be True or False, got None"),
        ({"accelerator": "cuda"}, "accelerator must be an accelerate.Accelerator or None, got str"),
        (
            {"lr_scheduler": "cosine"},
            "lr_scheduler must be a scheduler or .*, got 'cosine'",
        ),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        trainer(make_tiny(), **arguments)


def test_training_a_thing_that_is_no_model_is_refused() -> None:
    with pytest.raises(TypeError, match="nca must be an AbstractNCAModel, got Linear"):
        BasicNCATrainer(torch.nn.Linear(1, 1), None)  # type: ignore[arg-type]  # the fault under test


def test_a_clone_trains_another_model_with_the_same_settings(tmp_path: Path) -> None:
    first = trainer(make_tiny(), lr=0.5, gradient_clipping=True, pool=Pool(3, size=7), max_epochs=9)
    other = make_tiny()

    clone = first.clone_for(other, tmp_path / "other")

    assert clone.nca is other and clone.model_path == tmp_path / "other"
    assert (clone.lr, clone.gradient_clipping, clone.max_epochs) == (0.5, True, 9)
    assert clone.pool is not first.pool and repr(clone.pool) == repr(first.pool)


def test_the_scheduler_object_of_one_optimiser_cannot_be_cloned() -> None:
    nca = make_tiny()
    run = trainer(nca, lr_scheduler=StepLR(torch.optim.SGD(nca.parameters(), lr=0.1), 1))

    with pytest.raises(ValueError, match="lr_scheduler must be a function .* got a StepLR"):
        run.clone_for(make_tiny(), None)


def test_a_model_that_cannot_describe_itself_trains_unless_it_is_to_be_saved(
    tmp_path: Path,
) -> None:
    class Secretive(EchoModel):
        def __init__(self, hint: object) -> None:
            super().__init__()

    trainer(Secretive(object())).train(loader())

    with pytest.raises(TypeError, match="hint must be an attribute of Secretive"):
        trainer(Secretive(object()), tmp_path).train(loader())


def test_a_clone_trains_its_own_model_and_not_the_first() -> None:
    first, other = make_tiny(), make_tiny()
    before = weights(first)

    trainer(first, lr=0.1).clone_for(other, None).train(loader())

    assert equal(weights(first), before)
    assert not equal(weights(other), before)


def test_labels_reach_the_loss_as_the_loader_gives_them() -> None:
    masks = torch.rand(4, 1, 5, 4)
    seen: list[Tensor] = []

    class Keeping(EchoModel):
        def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
            seen.append(label.clone())
            return super().loss(pred, label)

    data = DataLoader(TensorDataset(torch.rand(4, 1, 5, 4), masks), batch_size=4)
    trainer(Keeping(), batch_repeat=1, max_epochs=1).train(data)

    assert torch.equal(seen[0], masks)


def test_tensorboard_gets_hyperparameters_with_what_came_of_them() -> None:
    writer: Any = FakeWriter()
    nca = make_tiny(validation_metric="mse")

    history = trainer(nca, lr=0.25, pool=Pool()).train(
        loader(), loader(), loader(), summary_writer=writer
    )

    [(given, metrics)] = writer.hparams
    assert given["trainer.lr"] == 0.25 and given["model.hidden_size"] == 8
    assert given["trainer.pool"].startswith("Pool(") and given["data.batch_size"] == 2
    assert {type(value) for value in given.values()} <= {bool, int, float, str}
    assert metrics["hparams/best"] == history.best_accuracy
    assert metrics["hparams/test_mse"] == history.test_metrics["mse"]


def test_a_plateau_is_looked_for_once_an_epoch_in_any_case() -> None:
    nca = make_tiny()
    nca.requires_grad_(False)
    nca.rule.get_parameter("network.0.bias").requires_grad_(True)  # zero gradient: a plateau
    run = trainer(
        nca,
        lr=0.2,
        max_epochs=3,
        scheduler_interval="batch",
        lr_scheduler=lambda o: ReduceLROnPlateau(o, patience=0),
    )

    assert run.train(loader()).lr == pytest.approx([0.2, 0.2, 0.02])


def test_a_plateau_of_the_wrong_direction_is_refused() -> None:
    nca = make_tiny(validation_metric="negative")

    with pytest.raises(ValueError, match="lr_scheduler must be .* of mode 'max' .* got mode 'min'"):
        trainer(nca, lr_scheduler=ReduceLROnPlateau).train(loader(), loader())


def test_losses_before_a_failure_reach_tensorboard() -> None:
    writer: Any = FakeWriter()
    nca = make_tiny()
    nca.loss = lambda pred, label: {"total": pred.logits.sum() * math.inf}  # type: ignore[method-assign]  # the fault under test

    with pytest.raises(RuntimeError, match="must stay finite"):
        trainer(nca).train(loader(), summary_writer=writer)

    assert len(writer.scalars["Loss/train_total"]) == 2


def test_early_stopping_starts_anew_with_every_training() -> None:
    stopping = EarlyStopping(patience=2)
    lengths = [
        trainer(make_tiny(fire_rate=0.0), max_epochs=9)
        .train(loader(), earlystopping=stopping)
        .current_epoch
        for _ in range(2)
    ]

    assert lengths == [3, 3]


def test_early_stopping_follows_the_direction_of_every_training() -> None:
    stopping = EarlyStopping(patience=1)
    higher = trainer(make_tiny(validation_metric="negative"), max_epochs=3, lr=0.05)
    lower = trainer(make_tiny(), max_epochs=3, lr=0.05)

    assert higher.train(loader(), loader(), earlystopping=stopping).current_epoch == 3
    assert lower.train(loader(), earlystopping=stopping).current_epoch == 3


def test_early_stopping_of_the_wrong_direction_is_refused() -> None:
    stopping = EarlyStopping(patience=1, higher_is_better=True)

    with pytest.raises(ValueError, match=r"must have higher_is_better=False \(or None\) .* True"):
        trainer(make_tiny()).train(loader(), earlystopping=stopping)


def test_a_validation_metric_of_several_values_is_refused() -> None:
    class PairError(MeanSquaredError):
        def compute(self) -> torch.Tensor:
            return super().compute() * torch.ones(2)

    nca = make_tiny(validation_metric="halves")
    nca.metrics["halves"] = PairError()

    with pytest.raises(ValueError, match="one value, got 'halves' with halves_0, halves_1"):
        trainer(nca).train(loader(), loader())


def test_what_is_no_loader_is_named() -> None:
    batches: Any = [(torch.rand(2, 1, 5, 4), torch.rand(2, 1, 5, 4))]

    with pytest.raises(TypeError, match="dataloader_train must be a DataLoader, got list"):
        trainer(make_tiny()).train(batches)
    with pytest.raises(TypeError, match="dataloader_val must be a DataLoader or None, got list"):
        trainer(make_tiny()).train(loader(), batches)


def test_test_metrics_that_cannot_be_measured_are_told(caplog: pytest.LogCaptureFixture) -> None:
    nca = make_tiny(validation_metric="mse")
    nan = DataLoader([(torch.rand(1, 5, 4), torch.full((1, 5, 4), math.nan))])  # type: ignore[arg-type,var-annotated]  # a sequence

    history = trainer(nca).train(loader(), nan, loader())

    assert history.best_model is None and history.test_metrics == {}
    assert "no best model could be chosen, and no test metrics measured" in caplog.text


def test_weights_that_overflow_in_the_last_step_of_an_epoch_are_not_saved(tmp_path: Path) -> None:
    nca = make_tiny()
    trainer(nca, tmp_path, max_epochs=1).train(loader(batch_size=4))
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    nca.loss = lambda pred, label: {"total": (pred.logits - label).mean() * 1e10}  # type: ignore[method-assign]  # a finite loss with large gradients

    with pytest.raises(RuntimeError, match=r"weights must stay finite, .* in epoch 1; nothing"):
        trainer(nca, tmp_path, optimizer_method="sgd", lr=1e30).train(
            loader(batch_size=4), save_every=1, overwrite=True
        )

    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before
