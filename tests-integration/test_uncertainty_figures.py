"""Heat maps of uncertainty reach TensorBoard, and change nothing about the training."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.tensorboard import SummaryWriter

from ncalab import NQM, BasicNCATrainer, SegmentationNCAModel


def model() -> SegmentationNCAModel:
    torch.manual_seed(0)
    return SegmentationNCAModel(
        torch.device("cpu"),
        num_image_channels=1,
        hidden_size=8,
        training_timesteps=3,
        inference_timesteps=3,
    )


def pairs() -> DataLoader[tuple[Tensor, ...]]:
    images = torch.rand(4, 1, 7, 9, generator=torch.Generator().manual_seed(1))
    return DataLoader(TensorDataset(images, (images[:, 0] > 0.5).long()), 2)


def test_heat_maps_are_logged_and_leave_the_training_as_it_is(tmp_path: Path) -> None:
    trained = []
    for folder, looked_at in ((tmp_path / "with", True), (tmp_path / "without", False)):
        nca = model()
        with SummaryWriter(str(folder)) as writer:
            BasicNCATrainer(nca, None, max_epochs=2, progress=False).train(
                pairs(),
                pairs(),
                summary_writer=writer,
                uncertainty=NQM(nca, N=2) if looked_at else None,
            )
        trained.append(nca.state_dict())

    events = EventAccumulator(str(tmp_path / "with"))
    events.Reload()
    assert "Uncertainty" in events.Tags()["images"]
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_an_estimator_of_another_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="uncertainty must be an estimator of the trained model"):
        BasicNCATrainer(model(), None, max_epochs=1).train(
            pairs(), pairs(), uncertainty=NQM(model(), N=2)
        )


def test_heat_maps_need_validation_images_and_a_writer() -> None:
    nca = model()

    with pytest.raises(ValueError, match="dataloader_val must be given"):
        BasicNCATrainer(nca, None, max_epochs=1).train(pairs(), uncertainty=NQM(nca, N=2))
