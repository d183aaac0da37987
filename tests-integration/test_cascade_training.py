"""A cascade in place of a model: trained, validated, saved, reloaded, animated."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cascade_models import ScoreModel, cascade_of
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel
from ncalab.tasks import CascadeNCA, GrowingNCADataset, GrowingNCAModel
from ncalab.train import BasicNCATrainer, Pool
from ncalab.viz import Animator

CPU = torch.device("cpu")


def blobs(size: tuple[int, int] = (18, 13)) -> DataLoader[Any]:
    """Return images of two channels, and which of them is the larger one around each pixel."""
    torch.manual_seed(3)
    coarse = torch.rand(8, 2, 3, 2)
    images = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear")
    labels = torch.stack([images[:, 0] > images[:, 1], images[:, 0] <= images[:, 1]], dim=1)
    return DataLoader(TensorDataset(images, labels.float()), batch_size=4)


def weights(cascade: CascadeNCA) -> list[Tensor]:
    """Return copies of the parameters of every scale."""
    return [p.detach().clone() for model in cascade.models for p in model.parameters()]


@pytest.mark.parametrize("separate", [False, True])
def test_the_trainer_trains_every_scale(separate: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ScoreModel(CPU, hidden_size=16, num_learned_filters=2)
    cascade = CascadeNCA(model, [4, 2, 1], [3, 3, 3], single_model=not separate)
    before = weights(cascade)
    trainer = BasicNCATrainer(cascade, tmp_path / "run", lr=1e-2, max_epochs=12, progress=False)

    history = trainer.train(blobs(), blobs(), save_every=12)

    changed = [not torch.equal(old, new) for old, new in zip(before, weights(cascade), strict=True)]
    assert all(changed)
    assert history.loss[-1] < history.loss[0] / 2
    if separate:
        first, second, third = (m.rule.get_parameter("network.2.weight") for m in cascade.models)
        assert not torch.equal(first, second) and not torch.equal(second, third)
    twin = AbstractNCAModel.from_pretrained(tmp_path / "run" / "last_model.safetensors")
    image = next(iter(blobs()))[0]
    want = cascade.predict(image, seed=1).logits
    assert torch.equal(twin.predict(image, seed=1).logits, want)
    best = history.best_model
    assert isinstance(best, CascadeNCA)
    assert best.validate(blobs())[0]["mse"] < 0.2


def test_two_trainings_of_a_cascade_give_the_same_weights_to_the_bit() -> None:
    def train() -> list[Tensor]:
        cascade = cascade_of("scores", separate=True)
        torch.manual_seed(0)
        BasicNCATrainer(cascade, None, max_epochs=3, progress=False).train(blobs())
        return weights(cascade)

    assert all(torch.equal(a, b) for a, b in zip(train(), train(), strict=True))


def test_a_growing_cascade_is_trained_with_a_pool_and_animated(tmp_path: Path) -> None:
    torch.manual_seed(0)
    image = np.zeros((14, 10, 4), np.uint8)
    image[4:10, 3:7] = 255
    nca = GrowingNCAModel(CPU, num_hidden_channels=4, hidden_size=16, use_alive_mask=True)
    cascade = CascadeNCA(nca, [2, 1], [6, 4])
    data = DataLoader(GrowingNCADataset(image, nca.num_channels, batch_size=4), batch_size=4)

    trainer = BasicNCATrainer(
        cascade, None, lr=5e-3, max_epochs=15, pool=Pool(damage=True), progress=False
    )
    history = trainer.train(data, data)

    assert min(history.loss) < history.loss[0]
    animator = Animator(cascade, cascade.make_seed(14, 10), hidden=True, show_input=True)
    assert len(animator.frames) == 11
    animator.save(tmp_path / "a.gif")
    assert (tmp_path / "a.gif").stat().st_size > 0
