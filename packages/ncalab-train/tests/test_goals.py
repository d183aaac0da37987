"""Training of models whose cells perceive a goal."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from train_models import EchoModel

from ncalab.core import Prediction
from ncalab.train import BasicNCATrainer, Pool


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
    # The goal tells which image it belongs to.
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
