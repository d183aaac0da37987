"""Trainings give torch's operations one thread where they are small, and change nothing else."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from train_models import EchoModel, equal, loader, make_tiny, weights

from ncalab.core import Prediction
from ncalab.core.rollout.cpu.compiled.library import levels
from ncalab.core.testing import awaken
from ncalab.train import BasicNCATrainer
from ncalab.train.operation_threads import HEAVY

pytestmark = pytest.mark.skipif(
    not levels(), reason="the compiled engine does not know this processor"
)


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def threads_of_losses(nca: EchoModel, **arguments: Any) -> list[int]:
    """Train two batches; return torch's number of threads in the loss of each."""
    counts: list[int] = []
    loss = nca.loss

    def note(pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        counts.append(torch.get_num_threads())
        return loss(pred, label)

    nca.loss = note  # type: ignore[method-assign]  # replaced to look into it
    options = {"max_epochs": 1, "batch_repeat": 1, "progress": False, **arguments}
    BasicNCATrainer(nca, None, **options).train(loader(count=4, batch_size=2))
    return counts


def test_operations_of_a_training_use_one_thread() -> None:
    assert threads_of_losses(make_tiny()) == [1, 1]
    assert torch.get_num_threads() == 2


def test_the_threads_are_put_back_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    nca = make_tiny()
    monkeypatch.setattr(nca, "loss", lambda pred, label: {"total": "no tensor"})

    with pytest.raises(TypeError, match="loss must return tensors"):
        BasicNCATrainer(nca, None, progress=False).train(loader(count=2, batch_size=2))

    assert torch.get_num_threads() == 2


def test_a_heavy_loss_keeps_its_threads() -> None:
    nca = make_tiny()
    loss = nca.loss
    side = round((HEAVY / 2) ** (1 / 3)) + 1

    def heavy(pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        matrix = pred.logits.mean().expand(side, side)
        return {"total": loss(pred, label)["total"] + 0 * (matrix @ matrix).sum()}

    nca.loss = heavy  # type: ignore[method-assign]  # replaced by a heavier one
    assert threads_of_losses(nca) == [1, 2]


def test_a_rollout_that_is_made_of_operations_keeps_its_threads() -> None:
    nca = make_tiny()
    nca.rule.register_forward_hook(lambda *_: None)

    assert threads_of_losses(nca) == [1, 2]


def test_one_thread_stays_one() -> None:
    torch.set_num_threads(1)

    assert threads_of_losses(make_tiny()) == [1, 1]
    assert torch.get_num_threads() == 1


def test_two_trainings_with_two_threads_are_equal_to_the_bit() -> None:
    def trained() -> list[Tensor]:
        torch.manual_seed(3)
        nca = make_tiny()
        awaken(nca, 0.1)
        threads_of_losses(nca, max_epochs=2)
        return weights(nca)

    assert equal(trained(), trained())
