"""A pool in the training of every task: right labels, and as good a model as without one."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel, Prediction, fix_random_seed
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)
from ncalab.train import BasicNCATrainer, Pool
from ncalab.train.checkpoint import read_checkpoint

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"num_hidden_channels": 4, "hidden_size": 8, "training_timesteps": 2}


def classifier(**arguments: Any) -> ClassificationNCAModel:
    return ClassificationNCAModel(CPU, 3, num_classes=4, avg_pool_size=2, **SIZES, **arguments)


MODELS: dict[str, Callable[[], AbstractNCAModel]] = {
    "mask": lambda: SegmentationNCAModel(CPU, **SIZES),
    "classes": lambda: SegmentationNCAModel(CPU, num_classes=3, **SIZES),
    "depth": lambda: DepthNCAModel(CPU, **SIZES),
    "head": lambda: classifier(),
    "pooled": lambda: classifier(use_classifier=False),
    "cell by cell": lambda: classifier(pixel_wise_loss=True),
}
# Of each task, what the label is of an image ``(B, 3, W, H)``.
LABELS: dict[str, Callable[[Tensor], Tensor]] = {
    "mask": lambda x: (x[:, 0] > 0.5).long(),
    "classes": lambda x: (x[:, 0] * 3).long(),
    "depth": lambda x: x[:, 0] + 1,
    "class": lambda x: (x[:, 0, 0, 0] * 4).long(),
}


def label_of(task: str, image: Tensor) -> Tensor:
    return LABELS.get(task, LABELS["class"])(image)


def spy_on(nca: AbstractNCAModel, task: str) -> list[Tensor]:
    """Raise when a loss compares an image with the label of another; return the images seen."""
    seen: list[Tensor] = []
    own = nca.loss

    def loss(pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        if torch.is_grad_enabled():
            seen.append(pred.image_channels.detach().clone())
        assert torch.equal(label, label_of(task, pred.image_channels))
        return own(pred, label)

    nca.loss = loss  # type: ignore[method-assign]  # to look at what it is given
    return seen


@pytest.mark.parametrize("cascade", [False, True], ids=["alone", "cascade"])
@pytest.mark.parametrize("task", MODELS)
def test_every_state_is_trained_with_its_own_image_and_label(task: str, cascade: bool) -> None:
    fix_random_seed(0)
    nca = MODELS[task]()
    if cascade:
        nca = CascadeNCA(nca, [2, 1], [1, 1])
    images = torch.rand(12, 3, 6, 8)
    seen = spy_on(nca, task)
    pool = Pool(damage=True, p_damage=1.0, size=9, fresh_fraction=0.2)

    data = DataLoader(TensorDataset(images, label_of(task, images)), 4, shuffle=True)
    BasicNCATrainer(nca, None, max_epochs=4, pool=pool, progress=False).train(data)

    trained = torch.cat(seen)
    assert all((image == images).flatten(1).all(dim=1).any() for image in trained)
    assert len(pool.states) == 9 and all(state is not None for state in pool.states)


def blobs(count: int, seed: int) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(seed)
    images = F.interpolate(
        torch.rand(count, 1, 3, 3, generator=generator), size=(10, 10), mode="bilinear"
    )
    return DataLoader(TensorDataset(images, (images[:, 0] > 0.5).long()), 8, shuffle=True)


def test_a_segmentation_of_many_images_is_learned_as_well_as_without_a_pool() -> None:
    scores = []
    for pool in (None, Pool(size=32), Pool(size=32, damage=True)):
        fix_random_seed(0)
        nca = SegmentationNCAModel(
            CPU, 1, 6, hidden_size=16, training_timesteps=(5, 8), inference_timesteps=6
        )
        trainer = BasicNCATrainer(
            nca, None, lr=1e-2, max_epochs=25, pool=pool, batch_repeat=1, progress=False
        )
        scores.append(trainer.train(blobs(32, 0), blobs(16, 1)).best_accuracy)

    assert min(scores) > 0.95
    assert scores[0] - min(scores) < 0.02


def two_pictures(nca: GrowingNCAModel) -> TensorDataset:
    """Return two seeds, which differ in hidden channels, twice, and what is to grow of them."""
    seeds = nca.make_seed(8, 8).repeat(4, 1, 1, 1)
    seeds[2:, 4:7] = 0
    pictures = torch.zeros(4, 4, 8, 8)
    pictures[:2, [0, 3], :4, 2:6] = 1
    pictures[2:, 2:4, 4:, 2:6] = 1
    return TensorDataset(seeds, pictures)


def test_several_pictures_are_grown_by_one_rule() -> None:
    fix_random_seed(0)
    nca = GrowingNCAModel(
        CPU,
        num_hidden_channels=6,
        hidden_size=32,
        training_timesteps=(10, 14),
        inference_timesteps=12,
    )
    data = two_pictures(nca)
    trainer = BasicNCATrainer(
        nca,
        None,
        lr=5e-3,
        max_epochs=200,
        pool=Pool(size=16),
        batch_repeat=1,
        gradient_normalization=True,
        progress=False,
    )

    trainer.train(DataLoader(data, 4))

    seeds, pictures = data.tensors
    grown = nca.predict(seeds, seed=1).image_channels
    own = (grown - pictures).square().mean(dim=(1, 2, 3))
    other = (grown - pictures.flip(0)).square().mean(dim=(1, 2, 3))
    assert (own < other / 2).all()


@pytest.mark.parametrize("task", ["mask", "head"])
def test_such_a_training_is_resumed_to_the_bit(task: str, tmp_path: Path) -> None:
    images = torch.rand(12, 3, 6, 8, generator=torch.Generator().manual_seed(2))
    for name, lengths in (("whole", [4]), ("parts", [1, 4])):
        for epochs in lengths:
            fix_random_seed(0)
            nca = MODELS[task]()
            pool = Pool(damage=True, size=9)
            trainer = BasicNCATrainer(
                nca, tmp_path / name, max_epochs=epochs, pool=pool, progress=False
            )
            data = DataLoader(TensorDataset(images, label_of(task, images)), 4, shuffle=True)
            trainer.train(data, resume=True)

    whole, parts = (
        read_checkpoint(tmp_path / name / "checkpoint.safetensors") for name in ("whole", "parts")
    )
    for name, value in whole["model"].items():
        assert torch.equal(value, parts["model"][name])
    for one, other in zip(whole["pool"]["records"], parts["pool"]["records"], strict=True):
        assert torch.equal(one["state"], other["state"])
        assert torch.equal(one["label"], other["label"])
