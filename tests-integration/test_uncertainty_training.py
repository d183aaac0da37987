"""Every estimator of uncertainty, for every task, alone and in a cascade, in a training."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)
from ncalab.train import BasicNCATrainer
from ncalab.uncertainty import MCMC, NQM, Perturbation, TestTimeAugmentation

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {
    "num_hidden_channels": 3,
    "hidden_size": 4,
    "training_timesteps": 2,
    "inference_timesteps": 4,
}
MODELS: dict[str, Callable[[], AbstractNCAModel]] = {
    "growing": lambda: GrowingNCAModel(CPU, use_alive_mask=True, **SIZES),
    "depth": lambda: DepthNCAModel(CPU, **SIZES),
    "mask": lambda: SegmentationNCAModel(CPU, **SIZES),
    "classes": lambda: SegmentationNCAModel(CPU, num_classes=3, **SIZES),
    "head": lambda: classifier(),
    "pooled": lambda: classifier(use_classifier=False),
    "cell by cell": lambda: classifier(pixel_wise_loss=True),
}
ESTIMATORS: dict[str, Callable[[AbstractNCAModel], Any]] = {
    "NQM": lambda nca: NQM(nca, N=2),
    "MCMC": lambda nca: MCMC(nca, N_last=2),
    "TestTimeAugmentation": lambda nca: TestTimeAugmentation(nca, transforms="flips"),
    "Perturbation": lambda nca: Perturbation(nca, N=2, recovery=2),
}


def classifier(**arguments: Any) -> ClassificationNCAModel:
    return ClassificationNCAModel(CPU, 3, num_classes=3, avg_pool_size=2, **SIZES, **arguments)


def make(task: str, *, cascade: bool) -> AbstractNCAModel:
    torch.manual_seed(0)
    model = MODELS[task]()
    if not cascade:
        return model
    return CascadeNCA(model, [2, 1], [2, 2], training_timesteps=2, inference_timesteps=4)


def pairs(task: str) -> DataLoader[Any]:
    x = torch.rand(2, 4 if task == "growing" else 3, 8, 10)
    labels: dict[str, Tensor] = {
        "growing": x,
        "depth": x[:, 0] + 1,
        "mask": (x[:, 0] > 0.5).long(),
        "classes": (x[:, 0] * 3).long(),
    }
    return DataLoader(TensorDataset(x, labels.get(task, torch.tensor([0, 2]))), batch_size=2)


class Log:
    """Takes note of the figures that a training writes."""

    def __init__(self) -> None:
        self.figures: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None

    def add_figure(self, tag: str, figure: Any, _epoch: int) -> None:
        figure.canvas.draw()
        self.figures.append(tag)


def train(nca: AbstractNCAModel, task: str, estimator: Any) -> list[str]:
    log: Any = Log()
    trainer = BasicNCATrainer(nca, None, max_epochs=1, batch_repeat=1, progress=False)
    trainer.train(pairs(task), pairs(task), summary_writer=log, uncertainty=estimator)
    return list(log.figures)


@pytest.mark.parametrize("task", MODELS)
@pytest.mark.parametrize("cascade", [False, True], ids=["alone", "cascade"])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_every_estimator_shows_the_uncertainty_of_every_task_in_training(
    estimator: str, cascade: bool, task: str, caplog: pytest.LogCaptureFixture
) -> None:
    nca = make(task, cascade=cascade)

    figures = train(nca, task, ESTIMATORS[estimator](nca))

    assert figures == ["Training batch", "Uncertainty"]
    assert not caplog.records


@pytest.mark.parametrize("measure", ["entropy", "mutual_information"])
@pytest.mark.parametrize("task", ["mask", "classes", "head", "pooled", "cell by cell"])
def test_so_do_entropies_where_there_are_classes(
    task: str, measure: Any, caplog: pytest.LogCaptureFixture
) -> None:
    nca = make(task, cascade=False)

    assert train(nca, task, NQM(nca, N=2, measure=measure))[-1] == "Uncertainty"
    assert not caplog.records


@pytest.mark.parametrize("task", MODELS)
@pytest.mark.parametrize("cascade", [False, True], ids=["alone", "cascade"])
def test_more_steps_than_a_rollout_has_are_refused_before_the_first_batch(
    cascade: bool, task: str
) -> None:
    nca = make(task, cascade=cascade)
    before = [parameter.clone() for parameter in nca.parameters()]

    with pytest.raises(ValueError, match="N_last must be at most .* of a rollout, 4, got 5"):
        train(nca, task, MCMC(nca, N_last=5))

    assert all(torch.equal(a, b) for a, b in zip(before, nca.parameters(), strict=True))
