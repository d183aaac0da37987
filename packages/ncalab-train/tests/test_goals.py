"""Training of models whose cells perceive a goal."""

from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset
from train_models import EchoModel

from ncalab.core import Prediction
from ncalab.train import BasicNCATrainer, Pool
from ncalab.train.callbacks import figures
from ncalab.train.preflight import check_goals


class GoalModel(EchoModel):
    """Repeats an image times the goal that belongs to it, and notes what comes together."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"goal_size": 1, "validation_metric": "mse", **options})
        self.seen: list[tuple[Tensor, Tensor]] = []

    def forward(self, x: Tensor, steps: int = 1, **options: Any) -> Prediction:
        self.seen.append((x[:, 0].mean(dim=(1, 2)), options["goal"][:, 0]))
        return super().forward(x, steps, **options)


def loader() -> DataLoader[Any]:
    levels = torch.linspace(0.1, 0.8, 8)
    images = levels.view(-1, 1, 1, 1).expand(-1, 1, 5, 5).clone()
    # The goal says which image it belongs to.
    return DataLoader(TensorDataset(images, images.clone(), 10 * levels[:, None]), 4, shuffle=True)


@pytest.mark.parametrize("pool", [False, True])
def test_a_goal_stays_with_its_image(pool: bool) -> None:
    torch.manual_seed(0)
    model = GoalModel(immutable_image_channels=True)
    options: dict[str, Any] = {"pool": Pool(size=16)} if pool else {}
    trainer = BasicNCATrainer(model, None, max_epochs=2, batch_repeat=2, progress=False, **options)

    trainer.train(loader(), loader())

    assert len(model.seen) == 4
    for level, goal in model.seen:
        assert len(level) == 8
        torch.testing.assert_close(10 * level, goal)


def test_batches_without_goals_are_named() -> None:
    pairs = DataLoader(TensorDataset(torch.rand(4, 1, 5, 5), torch.rand(4, 1, 5, 5)), 2)
    trainer = BasicNCATrainer(GoalModel(), None, max_epochs=1, progress=False)

    with pytest.raises(ValueError, match=r"batches must be triples \(images, labels, goals\)"):
        trainer.train(pairs)


@pytest.mark.parametrize("name", ["train", "val", "test"])
def test_a_loader_without_goals_is_named_before_a_training(name: str) -> None:
    pairs = DataLoader(TensorDataset(torch.rand(4, 1, 5, 5), torch.rand(4, 1, 5, 5)), 2)
    names = ("train", "val", "test")
    loaders: list[DataLoader[Any]] = [pairs if each == name else loader() for each in names]
    train, val, test = loaders
    model = GoalModel()
    trainer = BasicNCATrainer(model, None, max_epochs=1, progress=False)

    with pytest.raises(ValueError, match=rf"dataloader_{name}: batches must be triples \(images"):
        trainer.train(train, val, test)

    assert not model.seen


def test_heat_maps_are_of_predictions_towards_the_goals(monkeypatch: pytest.MonkeyPatch) -> None:
    estimator, made = Mock(), Mock(save_due=True)
    estimator.estimate.return_value = torch.zeros(4, 1, 5, 5), [None], None
    monkeypatch.setattr(figures, "find_plot", lambda _: Mock())
    batches = DataLoader(loader().dataset, 4)
    figure = figures.UncertaintyFigure(Mock(), estimator, batches, Mock(return_value=nullcontext()))

    figure.on_epoch_end(Mock(nca=GoalModel()), made)

    assert torch.equal(estimator.estimate.call_args.kwargs["goal"], next(iter(batches))[2])


class AugmentedDataset(Dataset[tuple[Tensor, ...]]):
    """Draws what it yields, with a goal."""

    def __len__(self) -> int:
        return 2

    def __getitem__(self, place: int) -> tuple[Tensor, ...]:
        return torch.rand(1, 4, 4), torch.rand(1, 4, 4), torch.rand(1)


def test_to_look_at_a_loader_draws_nothing() -> None:
    model = GoalModel()
    before = torch.get_rng_state()

    check_goals(model, {"train": DataLoader(AugmentedDataset()), "val": None})

    assert torch.equal(torch.get_rng_state(), before)


def labels_of(goals: Tensor) -> Tensor:
    return 10.0 * goals


def draw(pool: Pool, goals: list[int]) -> tuple[Tensor, dict[str, Tensor]]:
    seed = torch.zeros(len(goals), 4, 3, 3)
    fields = {"goal": torch.tensor(goals), "label": labels_of(torch.tensor(goals))}
    return pool.draw(seed, fields)


def grown_pool(**options: Any) -> Pool:
    """Return a pool of eight states that all grew towards goal 0."""
    generator = torch.Generator().manual_seed(3)
    pool = Pool(n_seed=0, size=8, fresh_fraction=0.0, generator=generator, **options)
    states, _ = draw(pool, [0] * 8)
    pool.update(states + 1)
    return pool


def test_a_state_continues_towards_another_goal() -> None:
    pool = grown_pool(switch_goals=1.0)

    states, fields = draw(pool, [2] * 8)

    assert torch.equal(states, torch.ones(8, 4, 3, 3))
    assert fields["goal"].tolist() == [2] * 8
    assert torch.equal(fields["label"], labels_of(fields["goal"]))


def test_a_share_of_the_goals_is_switched() -> None:
    states, fields = draw(grown_pool(switch_goals=0.5), [2] * 8)

    assert torch.equal(states, torch.ones(8, 4, 3, 3))
    assert sorted(set(fields["goal"].tolist())) == [0, 2]
    assert torch.equal(fields["label"], labels_of(fields["goal"]))


def test_no_goal_is_switched_unless_asked_for() -> None:
    _, fields = draw(grown_pool(), [2] * 8)

    assert fields["goal"].tolist() == [0] * 8


def test_a_switched_state_returns_with_its_new_goal() -> None:
    pool = grown_pool(switch_goals=1.0)
    states, _ = draw(pool, [2] * 8)
    pool.update(states + 1)
    pool.switch_goals = 0.0

    states, fields = draw(pool, [1] * 8)

    assert torch.equal(states, torch.full((8, 4, 3, 3), 2.0))
    assert fields["goal"].tolist() == [2] * 8


def test_goals_are_switched_in_a_training() -> None:
    torch.manual_seed(0)
    model = GoalModel(immutable_image_channels=False)
    pool = Pool(size=16, fresh_fraction=0.0, n_seed=0, switch_goals=1.0)
    trainer = BasicNCATrainer(model, None, max_epochs=4, pool=pool, progress=False)

    trainer.train(loader(), loader())

    level, goal = (torch.cat(parts) for parts in zip(*model.seen, strict=True))
    assert not torch.allclose(10 * level, goal)


@pytest.mark.parametrize(
    ("fields", "fixed", "message"),
    [
        ({}, 0, "switch_goals must be 0 for samples without a goal, got 0.1"),
        ({"goal": torch.zeros(2)}, 1, "switch_goals must be 0 where the image channels are fixed"),
    ],
)
def test_goals_that_cannot_be_switched_are_refused(
    fields: dict[str, Tensor], fixed: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Pool(switch_goals=0.1).draw(torch.zeros(2, 4, 3, 3), fields, fixed_channels=fixed)


def test_clones_and_descriptions_know_the_share() -> None:
    pool = Pool(switch_goals=0.25)

    assert pool.clone().switch_goals == 0.25
    assert "switch_goals=0.25" in repr(pool)
