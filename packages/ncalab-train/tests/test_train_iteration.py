"""The documented step of a trainer is the one that a training takes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim import Optimizer
from train_models import EchoModel, equal, loader, make_tiny, same, weights

from ncalab.core import Prediction
from ncalab.core.testing import MeanHead, awaken
from ncalab.train import BasicNCATrainer, Pool
from ncalab.train.checkpoint import read_checkpoint

Trained = tuple[Prediction, dict[str, Tensor]]


class Plain(BasicNCATrainer):
    """Takes steps of its own, each on a rollout of two steps."""

    def _train_iteration(
        self,
        x: Tensor,
        y: Tensor,
        optimizer: Optimizer,
        head_optimizer: Optimizer | None,
        total_batch_iterations: int,
        summary_writer: Any = None,
    ) -> Trained:
        prediction = self.nca(x, 2)
        losses = self.nca.loss(prediction, y)
        optimizer.zero_grad()
        losses["total"].backward()
        optimizer.step()
        return prediction, losses


class Passing(BasicNCATrainer):
    """Takes the documented step."""

    def _train_iteration(self, *arguments: Any, **options: Any) -> Trained:
        return super()._train_iteration(*arguments, **options)


class Darker(BasicNCATrainer):
    """Takes the documented step on darker images."""

    def _train_iteration(self, x: Tensor, *rest: Any, **options: Any) -> Trained:
        return super()._train_iteration(x / 2, *rest, **options)


def train(
    kind: type[BasicNCATrainer], folder: Path | None = None, **arguments: Any
) -> tuple[EchoModel, Any]:
    nca = make_tiny(validation_metric="mse", fire_rate=1.0, training_timesteps=3)
    awaken(nca, 0.1)
    torch.manual_seed(2)
    options = {"max_epochs": 2, "batch_repeat": 1, "progress": False, **arguments}
    history = kind(nca, folder, **options).train(loader(), loader(2), save_every=1)
    return nca, history


def test_a_subclass_that_takes_its_own_step_changes_the_training() -> None:
    nca, history = train(Plain, optimizer_method="sgd", lr=0.1, lr_gamma=1.0)

    reference = make_tiny(validation_metric="mse", fire_rate=1.0, training_timesteps=3)
    awaken(reference, 0.1)
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.1, momentum=0.9, nesterov=True)
    means = []
    for _ in range(2):
        terms = []
        for image, label in loader():
            states = torch.cat([image, image.new_zeros(2, 3, 5, 4)], dim=1)
            loss = reference.loss(reference(states, 2), label)["total"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            terms.append(loss.item())
        means.append(sum(terms) / 2)
    for ours, theirs in zip(weights(nca), weights(reference), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert history.loss == pytest.approx(means)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"accumulate": 2, "warmup_steps": 3},
        {"pool": True, "gradient_clipping": True},
        {"optimizer_method": "muon", "ema_decay": 0.9, "skip_nonfinite": True},
    ],
    ids=str,
)
def test_a_subclass_that_passes_everything_on_changes_nothing(
    arguments: dict[str, Any], tmp_path: Path
) -> None:
    for kind in (BasicNCATrainer, Passing):
        pool = {"pool": Pool(size=6, damage=True)} if "pool" in arguments else {}
        train(kind, tmp_path / kind.__name__, **{**arguments, **pool})

    plain, passing = (
        read_checkpoint(tmp_path / kind.__name__ / "checkpoint.safetensors")
        for kind in (BasicNCATrainer, Passing)
    )
    same(plain, passing)


def test_what_is_passed_on_is_what_the_step_is_taken_on() -> None:
    darker, plain = train(Darker)[0], train(BasicNCATrainer)[0]

    assert not equal(weights(darker), weights(plain))


def test_a_step_of_ones_own_goes_back_into_the_pool() -> None:
    pool = Pool(size=4)

    train(Plain, pool=pool)

    kept = [state for state in pool.states if state is not None]
    assert kept and not any(state.requires_grad for state in kept)


def test_the_step_is_given_optimisers_writer_and_the_number_of_batches() -> None:
    seen: list[tuple[Any, ...]] = []

    class Noting(BasicNCATrainer):
        def _train_iteration(self, x: Tensor, y: Tensor, *rest: Any) -> Trained:
            seen.append(rest)
            return super()._train_iteration(x, y, *rest)

    class Writer:
        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: None

    nca, writer = make_tiny(), Writer()
    nca.head = head = MeanHead()
    head.optimizer = torch.optim.SGD(head.parameters(), lr=0.1)
    nca.loss = lambda pred, label: {  # type: ignore[method-assign]  # for this head
        "total": (pred.logits.mean() - label.mean()).square()
    }
    trainer = Noting(nca, None, max_epochs=2, progress=False)
    trainer.train(loader(), summary_writer=writer)  # type: ignore[arg-type]  # stands in for a writer

    assert [rest[2] for rest in seen] == [0, 1, 2, 3]
    assert all(type(rest[0]) is torch.optim.Adam for rest in seen)
    assert all(rest[1] is head.optimizer and rest[3] is writer for rest in seen)


def test_the_step_can_be_taken_outside_of_a_training() -> None:
    scalars: list[tuple[Any, ...]] = []

    class Writer:
        def add_scalar(self, *values: Any) -> None:
            scalars.append(values)

    nca = make_tiny(training_timesteps=3)
    awaken(nca, 0.1)
    before = weights(nca)
    trainer = BasicNCATrainer(nca, None)
    optimizer = torch.optim.SGD(nca.parameters(), lr=0.1)
    x, y = torch.rand(2, nca.num_channels, 5, 4), torch.rand(2, 1, 5, 4)

    writer: Any = Writer()
    prediction, losses = trainer._train_iteration(x, y, optimizer, None, 7, writer)

    assert not equal(weights(nca), before)
    assert prediction.steps == 3 and not prediction.logits.requires_grad
    assert scalars == [
        ("Loss/train_total", float(losses["total"]), 7),
        ("Loss/train_half", float(losses["half"]), 7),
    ]


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "_train_iteration must return a pair of a Prediction and .* got None"),
        ("prediction", "loss must return a dictionary of terms, got float"),
    ],
)
def test_what_a_step_returns_is_checked(returned: Any, message: str) -> None:
    class Wrong(BasicNCATrainer):
        def _train_iteration(self, *arguments: Any, **options: Any) -> Any:
            prediction, _ = super()._train_iteration(*arguments, **options)
            return None if returned is None else (prediction, 0.5)

    with pytest.raises(TypeError, match=message):
        train(Wrong)


def test_an_error_after_a_step_of_ones_own_is_not_saved(tmp_path: Path) -> None:
    class Breaking(BasicNCATrainer):
        def _train_iteration(
            self, x: Tensor, y: Tensor, optimizer: Optimizer, *rest: Any, **options: Any
        ) -> Trained:
            losses = self.nca.loss(self.nca(x, 3), y)
            losses["total"].backward()
            optimizer.step()
            if rest[1] == 3:
                raise ZeroDivisionError("after the step")
            return self.nca(x, 3), losses

    with pytest.raises(ZeroDivisionError):
        train(Breaking, tmp_path)

    assert read_checkpoint(tmp_path / "checkpoint.safetensors")["epoch"] == 1
    assert read_checkpoint(tmp_path / "checkpoint.safetensors")["batches"] == 0


def test_a_loss_of_ones_own_step_that_is_not_finite_ends_the_training() -> None:
    class Infinite(Plain):
        def _train_iteration(self, *arguments: Any, **options: Any) -> Trained:
            prediction, losses = super()._train_iteration(*arguments, **options)
            return prediction, {name: value * torch.inf for name, value in losses.items()}

    with pytest.raises(RuntimeError, match="loss must stay finite, got .*in epoch 1"):
        train(Infinite)
