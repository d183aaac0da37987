"""The share of a training that is done, and what depends on it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from train_models import EchoModel, equal, loader, make_tiny, weights

import ncalab.train.loop
from ncalab.train import BasicNCATrainer, TrainingHistory
from ncalab.train.budget import Budget, decay_factor, shortened


class Clock:
    """Every look at it costs a second."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """Let trainings measure their time by a clock that only they move."""
    moved = Clock()

    def budget(epochs: int, minutes: float | None = None) -> Budget:
        return Budget(epochs, minutes, clock=moved)

    monkeypatch.setattr(ncalab.train.loop, "Budget", budget)
    yield moved


def train(folder: Path | None = None, *, nca: EchoModel | None = None, **arguments: Any) -> Any:
    run = BasicNCATrainer(nca or make_tiny(), folder, **{"progress": False, **arguments})
    return run.train(loader(), resume=folder is not None)


def rates(monkeypatch: pytest.MonkeyPatch, **arguments: Any) -> list[float]:
    """Return the learning rate of every step."""
    seen: list[float] = []
    step = torch.optim.SGD.step

    def spy(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    train(optimizer_method="sgd", lr=0.8, **arguments)
    return seen


def test_a_linear_decay_ends_at_its_final_rate() -> None:
    assert [decay_factor(p, "linear", 0.2) for p in (0.0, 0.5, 1.0)] == pytest.approx([1, 0.6, 0.2])


def test_a_rate_decays_at_every_step_over_all_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = rates(monkeypatch, max_epochs=2, decay="linear", final_lr=0.0)  # two steps an epoch

    assert seen == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_warm_up_and_decay_multiply(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = rates(monkeypatch, max_epochs=2, decay="linear", final_lr=0.0, warmup_steps=2)

    assert seen == pytest.approx([0.4, 0.6, 0.4, 0.2])


def test_without_a_decay_the_rate_is_the_schedulers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert rates(monkeypatch, max_epochs=2, lr_gamma=0.5) == pytest.approx([0.8, 0.8, 0.4, 0.4])


@pytest.mark.usefixtures("clock")
def test_one_batch_is_trained_on_however_little_time_there_is() -> None:
    nca = make_tiny()
    before = weights(nca)

    history = train(nca=nca, max_minutes=0.001)

    assert (history.current_epoch, len(history.loss), history.best_epoch) == (1, 1, 1)
    assert not equal(before, weights(nca))


@pytest.mark.usefixtures("clock")
def test_a_resumed_training_whose_time_is_over_has_no_further_epoch(tmp_path: Path) -> None:
    first = train(tmp_path, max_minutes=0.001)

    assert train(tmp_path, max_minutes=0.001).current_epoch == first.current_epoch == 1


@pytest.mark.usefixtures("clock")
def test_minutes_decide_instead_of_epochs() -> None:
    history: TrainingHistory = train(max_minutes=0.5, max_epochs=2)

    assert 4 < history.current_epoch < 15
    assert not history.interrupted


def test_the_rate_follows_the_minutes(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    seen = rates(monkeypatch, max_minutes=1.0, decay="linear", final_lr=0.0)

    assert clock.now > 60
    assert seen[0] > 0.7 and seen[-1] < 0.1 and seen == sorted(seen, reverse=True)


def test_an_epoch_ends_when_the_time_is_over(clock: Clock) -> None:
    nca = make_tiny(validation_metric="mse")
    run = BasicNCATrainer(nca, None, max_minutes=0.1, progress=False)

    history = run.train(loader(count=400, batch_size=1), loader())

    assert clock.now < 20
    assert history.current_epoch == len(history.loss) == 1
    assert history.best_epoch == 1


@pytest.mark.usefixtures("clock")
def test_a_resumed_training_has_the_minutes_that_are_left(tmp_path: Path) -> None:
    first = train(tmp_path, max_minutes=0.5)
    done = first.current_epoch
    again = train(tmp_path, max_minutes=0.5)
    longer = train(tmp_path, max_minutes=1.0)

    assert again.current_epoch == done
    assert done < longer.current_epoch < 3 * done


def test_interrupted_in_the_middle_the_rate_decays_as_if_never_stopped(tmp_path: Path) -> None:
    options: dict[str, Any] = {"max_epochs": 4, "decay": "cosine", "first_steps": 0.5}
    whole = make_tiny(training_timesteps=(4, 9))
    torch.manual_seed(3)
    expected = train(tmp_path / "whole", nca=whole, **options)
    torch.manual_seed(3)
    stopped = Stopped(training_timesteps=(4, 9))
    stopped.load_state_dict(make_tiny(training_timesteps=(4, 9)).state_dict())
    torch.manual_seed(3)
    first = train(tmp_path / "parts", nca=stopped, **options)
    history = train(tmp_path / "parts", nca=stopped, **options)

    assert first.interrupted and first.current_epoch == 1
    assert equal(weights(stopped), weights(whole))
    assert history.lr == expected.lr


class Stopped(EchoModel):
    """Ctrl-C comes once, in the middle of its second epoch."""

    losses = 0

    def loss(self, pred: Any, label: Any) -> Any:
        self.losses += 1
        if self.losses == 4:
            raise KeyboardInterrupt
        return super().loss(pred, label)


def test_short_rollouts_come_first() -> None:
    lengths: list[int] = []

    class Counting(EchoModel):
        def forward(self, x: Any, steps: int = 1, **rest: Any) -> Any:
            lengths.append(steps)
            return super().forward(x, steps, **rest)

    nca = Counting(training_timesteps=8)
    train(nca=nca, max_epochs=4, first_steps=0.25)  # two steps an epoch

    assert lengths == [2, 4, 5, 6, 8, 8, 8, 8]


def test_a_rollout_has_at_least_a_step_for_each_scale() -> None:
    assert shortened(6, 0.0, 0.1, fewest=3) == 3
    assert shortened(2, 0.0, 0.1, fewest=3) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_minutes": 0}, "max_minutes must be above 0"),
        ({"decay": "fast"}, "decay must be one of gamma, cosine, linear, got 'fast'"),
        ({"final_lr": 1.5}, r"final_lr must be in \[0, 1\], got 1.5"),
        ({"first_steps": 0.0}, r"first_steps must be in \(0, 1\], got 0.0"),
        (
            {"decay": "cosine", "lr_scheduler": lambda o: o},
            "decay must be 'gamma' with an lr_scheduler, got 'cosine'",
        ),
    ],
)
def test_bad_options_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BasicNCATrainer(make_tiny(), None, **arguments)
