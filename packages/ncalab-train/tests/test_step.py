"""The parts of an optimiser step, and costs that it must not have."""

import gc
import math
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from train_models import EchoModel, equal, loader, make_tiny, weights

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.testing import awaken
from ncalab.train import BasicNCATrainer, Pool
from ncalab.train.batches import whole_batch
from ncalab.train.epoch_values import NonFiniteMonitor
from ncalab.train.optimizer_step import OptimizerStep


def lively(**arguments: Any) -> EchoModel:
    """Return a model whose rule does something from the start."""
    nca = make_tiny(**arguments)
    awaken(nca, 0.1)
    return nca


def trained(nca: AbstractNCAModel, data: DataLoader[Any], **arguments: Any) -> list[Tensor]:
    torch.manual_seed(2)
    options = {"max_epochs": 3, "batch_repeat": 1, "progress": False, "lr": 0.05, **arguments}
    BasicNCATrainer(nca, None, **options).train(data)
    return weights(nca)


@pytest.mark.parametrize("method", ["sgd", "adam"])
def test_accumulated_batches_train_like_one_big_batch(method: str) -> None:
    # Five samples: the last batch of a group is smaller, and must weigh less.
    small, big = loader(count=5, batch_size=2), loader(count=5, batch_size=5)

    several = trained(lively(), small, accumulate=3, optimizer_method=method)
    at_once = trained(lively(), big, optimizer_method=method)

    assert not equal(several, weights(lively()))
    for one, other in zip(several, at_once, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_a_last_incomplete_group_takes_its_step() -> None:
    nca = lively()
    trainer = BasicNCATrainer(nca, None, accumulate=3, max_epochs=1, progress=False, lr_gamma=0.5)
    trainer.scheduler_interval = "batch"

    history = trainer.train(loader(count=5, batch_size=1))  # groups of three and two

    assert trainer.max_epochs == history.current_epoch == 1
    assert len(history.loss) == 1


def test_checkpointing_over_steps_changes_no_weight() -> None:
    kept, again = (
        trained(lively(training_timesteps=(6, 9)), loader(), checkpoint=c) for c in (None, "auto")
    )

    assert not equal(kept, weights(lively()))
    for one, other in zip(kept, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


def test_the_trainers_checkpoint_reaches_the_rollout(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    forward = EchoModel.forward

    def spy(self: EchoModel, *args: Any, **kwargs: Any) -> Prediction:
        seen.append(kwargs.get("checkpoint"))
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(EchoModel, "forward", spy)
    trained(make_tiny(), loader(), checkpoint=2, max_epochs=1)

    assert seen == [2, 2]


def test_bf16_computes_in_half_precision_and_keeps_float32_weights() -> None:
    full, half = (trained(lively(), loader(), precision=p) for p in ("float32", "bf16"))

    assert {tensor.dtype for tensor in half} == {torch.float32}
    assert not equal(full, half)
    for one, other in zip(full, half, strict=True):
        torch.testing.assert_close(one, other, atol=0.1, rtol=0.1)


def test_the_average_is_the_exponential_mean_of_the_weights(tmp_path: Path) -> None:
    nca = lively()
    passed: list[list[Tensor]] = []
    step = torch.optim.SGD.step

    class Spy(torch.optim.SGD):
        def step(self, *args: Any, **kwargs: Any) -> Any:
            result = step(self, *args, **kwargs)
            passed.append(weights(nca))
            return result

    optimizer = Spy(nca.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 99)
    trainer = BasicNCATrainer(
        nca, tmp_path, max_epochs=2, ema_decay=0.75, lr_scheduler=scheduler, progress=False
    )
    history = trainer.train(loader())

    mean = passed[0]
    for now in passed[1:]:
        mean = [0.75 * old + 0.25 * new for old, new in zip(mean, now, strict=True)]
    stored = EchoModel.from_pretrained(tmp_path / "average_model.safetensors")
    for ours, theirs in zip(mean, weights(stored), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    last = EchoModel.from_pretrained(tmp_path / "last_model.safetensors")
    assert equal(weights(last), weights(nca))
    assert isinstance(history.best_model, EchoModel)
    assert not equal(weights(history.best_model), weights(nca))


def test_an_average_that_warms_up_is_near_the_latest_weights() -> None:
    nca = lively()
    passed = [weights(nca)]
    optimizer = torch.optim.SGD(nca.parameters(), lr=0.1)
    optimizer.register_step_post_hook(lambda *_: passed.append(weights(nca)))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 99)
    trainer = BasicNCATrainer(
        nca, None, max_epochs=1, ema_decay=0.99, ema_warmup=True, lr_scheduler=scheduler
    )

    history = trainer.train(loader())  # two steps

    average = history.average_weights
    assert average is not None
    _, first, second = passed
    mean = [0.25 * old + 0.75 * new for old, new in zip(first, second, strict=True)]
    for name, wanted in zip(dict(nca.named_parameters()), mean, strict=True):
        torch.testing.assert_close(average[name], wanted, atol=1e-6, rtol=1e-5)


def test_the_average_is_what_is_validated() -> None:
    nca = lively(validation_metric="mse", fire_rate=1.0)
    trainer = BasicNCATrainer(nca, None, max_epochs=1, ema_decay=0.9, lr=0.3, progress=False)

    history = trainer.train(loader(), loader())

    assert history.best_model is not None
    measured, _ = history.best_model.validate(loader())
    assert history.metric_curves["mse"] == pytest.approx([measured["mse"]])
    assert nca.validate(loader())[0]["mse"] != pytest.approx(measured["mse"])


def test_warm_up_raises_the_learning_rate_step_by_step() -> None:
    rates: list[float] = []

    class Spy(torch.optim.SGD):
        def step(self, *args: Any, **kwargs: Any) -> Any:
            rates.append(self.param_groups[0]["lr"])
            return super().step(*args, **kwargs)

    nca = make_tiny()
    optimizer = Spy(nca.parameters(), lr=0.8)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)
    history = BasicNCATrainer(
        nca, None, max_epochs=3, lr_scheduler=scheduler, warmup_steps=4, progress=False
    ).train(loader())  # two steps an epoch

    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.4, 0.4])
    assert history.lr == pytest.approx([0.2, 0.6, 0.4])


# What ends a training


class Failing(EchoModel):
    """Its loss is not finite in some of its rollouts."""

    calls = 0

    def __init__(self, device: torch.device | None = None, **arguments: Any) -> None:
        super().__init__(device, **arguments)
        self.bad: dict[int, float] = {}

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        losses = super().loss(pred, label)
        if torch.is_grad_enabled():
            self.calls += 1
            losses["total"] = losses["total"] * self.bad.get(self.calls, 1.0)
        return losses


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_named_with_step_gradient_and_checkpoint(
    tmp_path: Path, value: float
) -> None:
    nca = Failing()
    nca.bad = {4: value}  # the second batch of the second epoch
    trainer = BasicNCATrainer(nca, tmp_path, max_epochs=3, progress=False)

    with pytest.raises(RuntimeError) as caught:
        trainer.train(loader(), save_every=1)

    message = str(caught.value)
    assert message.startswith(f"loss must stay finite, got {value} at step 2 (the largest gradient")
    assert "rule.network." in message and "in epoch 2" in message
    assert "the last good checkpoint is that of epoch 1" in message
    assert str(tmp_path / "checkpoint.safetensors") in message
    saved = Failing.from_pretrained(tmp_path / "last_model.safetensors")
    assert all(p.isfinite().all() for p in saved.parameters())


def test_a_step_that_is_not_finite_is_skipped_on_demand(tmp_path: Path) -> None:
    nca = Failing()
    nca.bad = {2: math.nan, 3: math.inf}
    pool = Pool(size=4)
    trainer = BasicNCATrainer(
        nca, tmp_path, max_epochs=2, skip_nonfinite=True, pool=pool, progress=False
    )

    history = trainer.train(loader())

    assert history.skipped_steps == 2
    assert all(math.isfinite(value) for value in history.loss) and len(history.loss) == 2
    assert all(p.isfinite().all() for p in nca.parameters())


def test_a_skipped_step_leaves_weights_moments_and_average_alone() -> None:
    nca = Failing()
    nca.bad = {1: math.nan}
    before = weights(nca)
    trainer = BasicNCATrainer(nca, None, skip_nonfinite=True, max_epochs=1, progress=False)

    with pytest.raises(RuntimeError, match="finite in some step of an epoch, got none in epoch 1"):
        trainer.train(loader(count=2))

    assert equal(weights(nca), before)


def test_a_gradient_that_is_not_finite_is_told_from_the_loss() -> None:
    layer = nn.Linear(2, 2)
    monitor = NonFiniteMonitor(layer)
    layer(torch.ones(1, 2)).sum().backward()
    monitor.observe(torch.tensor(1.0), 1)
    assert layer.bias.grad is not None
    layer.bias.grad[0] = math.nan
    monitor.observe(torch.tensor(3.0), 2)
    monitor.observe(torch.tensor(math.nan), 3)

    problem = monitor.problem(monitor.report().tolist())

    assert problem == (
        "gradients must stay finite, got nan in bias (the largest, loss 3) at step 2"
    )


def test_the_largest_of_finite_gradients_is_named() -> None:
    layer = nn.Linear(1, 1)
    monitor = NonFiniteMonitor(layer)
    (layer.weight * 3 + layer.bias * 4).sum().backward()
    monitor.observe(torch.tensor(math.inf), 5)

    problem = monitor.problem(monitor.report().tolist())

    assert problem == (
        "loss must stay finite, got inf at step 5 (the largest gradient has norm 4, that of bias)"
    )


# What a training must not cost


READERS = [
    "__bool__",
    "__float__",
    "__index__",
    "__int__",
    "cpu",
    "item",
    "nonzero",
    "numpy",
    "tolist",
]


@pytest.mark.parametrize("with_pool", [False, True])
def test_the_inner_loop_reads_nothing_from_the_device(
    monkeypatch: pytest.MonkeyPatch, with_pool: bool
) -> None:
    """Count what would wait for a device; CPU-only draws (seeds, slots) are not on it."""
    reads: list[str] = []
    on_device = False

    def count(name: str) -> Any:
        original = getattr(Tensor, name)

        def counting(self: Tensor, *args: Any, **kwargs: Any) -> Any:
            # States, losses and gradients are floating point; seeds and slots are integers.
            if on_device and self.is_floating_point():
                reads.append(name)
            return original(self, *args, **kwargs)

        return counting

    for name in READERS:
        monkeypatch.setattr(Tensor, name, count(name))
    nca = make_tiny()
    pool = Pool(damage=True, p_damage=1.0, size=8) if with_pool else None
    trainer = BasicNCATrainer(
        nca,
        None,
        max_epochs=1,
        optimizer_method="sgd",
        pool=pool,
        gradient_clipping=True,
        gradient_normalization=True,
        progress=False,
    )
    on_device = True
    trainer.train(loader(count=20, batch_size=2))

    assert reads == ["tolist"]  # the means of the epoch


def test_the_model_is_copied_before_and_after_and_not_every_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    copies: list[int] = []

    def copy(self: EchoModel, memo: Any) -> EchoModel:
        copies.append(1)
        return make_tiny()

    monkeypatch.setattr(EchoModel, "__deepcopy__", copy, raising=False)

    BasicNCATrainer(make_tiny(), None, max_epochs=6, progress=False).train(loader())

    assert len(copies) <= 2  # to see that it can be, and for history.best_model


def test_the_best_weights_reuse_their_memory() -> None:
    nca = make_tiny(fire_rate=1.0)
    trainer = BasicNCATrainer(nca, None, max_epochs=1, progress=False, lr=1e-2)
    history = trainer.train(loader())
    assert history.best_weights is not None
    before = {name: tensor.data_ptr() for name, tensor in history.best_weights.items()}

    history.update(2, lively(), history.best_accuracy - 1)

    assert {name: tensor.data_ptr() for name, tensor in history.best_weights.items()} == before
    assert equal(list(history.best_weights.values()), weights(lively()))


def test_validation_keeps_no_prediction() -> None:
    alive: list[int] = []
    references: list[weakref.ref[Prediction]] = []

    class Watched(EchoModel):
        def post_prediction(self, prediction: Prediction) -> Prediction:
            gc.collect()
            alive.append(sum(reference() is not None for reference in references))
            references.append(weakref.ref(prediction))
            return prediction

    nca = Watched(validation_metric="mse")
    BasicNCATrainer(nca, None, max_epochs=1, progress=False).train(
        loader(), loader(count=12, batch_size=1), loader(count=12, batch_size=1)
    )

    assert len(references) == 24
    assert max(alive) <= 1


def test_a_slot_of_the_pool_keeps_its_state_and_not_its_batch() -> None:
    pool = Pool(size=8)
    pool.sample(torch.zeros(4, 2, 3, 3))

    pool.update(torch.ones(4, 2, 3, 3))

    kept = [state for state in pool.states if state is not None]
    assert len(kept) == 4
    assert {state.untyped_storage().nbytes() for state in kept} == {2 * 3 * 3 * 4}


def test_a_batch_is_begun_and_trained_on_once_in_a_step() -> None:
    nca = lively()
    step = OptimizerStep(nca, BasicNCATrainer(nca, None).config(), [])
    states, labels = torch.rand(1, nca.num_channels, 3, 3), torch.rand(1, 1, 3, 3)
    step.start(1, number=1)

    with pytest.raises(RuntimeError, match="must be called once for each batch of a training"):
        step.train(states, labels, [])
    step.begin(whole_batch(states, labels))
    step.train(states, labels, [])
    with pytest.raises(RuntimeError, match="must be called once for each batch of a training"):
        step.train(states, labels, [])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"ema_decay": 1.0}, r"ema_decay must be in \[0, 1\), got 1.0"),
        ({"warmup_steps": -1}, "warmup_steps must be at least 0, got -1"),
        ({"accumulate": 0}, "accumulate must be at least 1, got 0"),
        ({"precision": "fp16"}, "precision must be one of float32, bf16, got 'fp16'"),
        ({"checkpoint": 0}, "checkpoint must be at least 1, got 0"),
    ],
)
def test_bad_options_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BasicNCATrainer(make_tiny(), None, **arguments)
