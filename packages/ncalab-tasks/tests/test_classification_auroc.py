import pickle
from collections.abc import Callable
from contextlib import nullcontext as nothing

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from ncalab.tasks import ClassificationNCAModel
from ncalab.tasks.classification.auroc import MacroAUROC

sklearn = pytest.importorskip("sklearn.metrics")

Draw = Callable[[np.random.Generator, np.ndarray], np.ndarray]


def rare(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    """Scores near 0.1 %, as a classifier has them for what is rare."""
    return 0.001 * np.exp(rng.normal(0, 0.4, len(label)) + 1.5 * label)


def sure(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    return 1 - rare(rng, 1 - label)


def narrow(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    return 0.1 + 1e-5 * rng.random(len(label)) + 3e-6 * label


def even(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    return (rng.random(len(label)) + 0.3 * label) / 1.3


def tied(rng: np.random.Generator, label: np.ndarray) -> np.ndarray:
    return rng.integers(0, 4, len(label)) / 8 + label / 8


ORDERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "as they come": lambda scores, label: np.arange(len(label)),
    "ascending": lambda scores, label: np.argsort(scores),
    "descending": lambda scores, label: np.argsort(-scores),
    "class by class": lambda scores, label: np.argsort(label, kind="stable"),
}


def two_classes(scores: np.ndarray) -> Tensor:
    return torch.from_numpy(np.stack([1 - scores, scores], axis=1).astype(np.float32))


def exact(scores: Tensor, label: np.ndarray) -> float:
    areas = [sklearn.roc_auc_score(label == k, scores[:, k]) for k in range(scores.shape[1])]
    return float(np.mean(areas))


def measure(metric: MacroAUROC, scores: Tensor, label: np.ndarray, batch: int) -> float:
    labels = torch.from_numpy(label)
    for part, target in zip(scores.split(batch), labels.split(batch), strict=True):
        metric.update(part, target)
    return float(metric.compute())


@pytest.mark.parametrize("draw", [rare, sure, narrow, even, tied])
def test_up_to_the_scores_that_are_kept_the_area_is_exact(draw: Draw) -> None:
    rng = np.random.default_rng(0)
    label = (rng.random(3000) < 0.1).astype(np.int64)
    scores = two_classes(draw(rng, label))

    assert measure(MacroAUROC(2), scores, label, 64) == pytest.approx(
        exact(scores, label), abs=1e-12
    )


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("draw", [rare, sure, narrow, even, tied])
def test_beyond_that_it_is_near_in_bounded_memory(draw: Draw, order: str) -> None:
    rng = np.random.default_rng(1)
    label = (rng.random(20_000) < 0.01).astype(np.int64)
    drawn = draw(rng, label)
    places = ORDERS[order](drawn, label)
    scores, label = two_classes(drawn[places]), label[places]
    metric = MacroAUROC(2, kept=1024)

    measured = measure(metric, scores, label, 100)

    # Of the 1024, half remain after each merge.
    assert measured == pytest.approx(exact(scores, label), abs=1 / 512)
    assert len(metric.scores) <= 1024


@pytest.mark.parametrize("draw", [rare, sure, narrow, even, tied])
def test_as_many_scores_as_are_kept_by_default_are_near_to_a_hundred_thousandth(draw: Draw) -> None:
    rng = np.random.default_rng(3)
    label = (rng.random(40_000) < 0.02).astype(np.int64)
    scores = two_classes(draw(rng, label))

    assert measure(MacroAUROC(2), scores, label, 500) == pytest.approx(
        exact(scores, label), abs=1e-5
    )


def test_several_classes_are_averaged_as_scikit_learn_does() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(600) % 4
    logits = torch.randn(600, 4, generator=generator)
    logits[torch.arange(600), label] += 1
    scores = logits.double().softmax(dim=1)
    metric = MacroAUROC(4)

    metric.update(scores, label)

    want = sklearn.roc_auc_score(label, scores, multi_class="ovr")
    assert metric.compute().item() == pytest.approx(want, abs=1e-12)


def test_a_class_missing_from_the_labels_has_no_part_in_the_area() -> None:
    scores = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.5, 0.4, 0.1]])
    label = np.array([0, 1, 1])

    measured = measure(MacroAUROC(3), scores, label, 3)

    assert measured == pytest.approx(exact(scores[:, :2], label))


@pytest.mark.parametrize("label", [np.zeros(3, np.int64), np.zeros(0, np.int64)])
def test_without_two_classes_the_area_is_undefined(label: np.ndarray) -> None:
    metric = MacroAUROC(2)
    if len(label):
        metric.update(torch.rand(3, 2), torch.from_numpy(label))

    with pytest.warns(UserWarning, match="compute") if not len(label) else nothing():
        assert metric.compute().isnan()


def test_scores_that_are_no_numbers_make_it_undefined() -> None:
    scores = torch.tensor([[0.2, 0.8], [torch.nan, 0.1]])

    assert np.isnan(measure(MacroAUROC(2), scores, np.array([1, 0]), 1))


def test_parts_of_two_processes_are_put_together() -> None:
    rng = np.random.default_rng(2)
    label = rng.integers(0, 2, 400)
    scores = two_classes(even(rng, label))
    halves = [MacroAUROC(2), MacroAUROC(2)]
    for metric, part in zip(halves, (slice(0, 150), slice(150, 400)), strict=True):
        metric.update(scores[part], torch.from_numpy(label[part]))

    # What torchmetrics does with the states of all processes.
    whole = MacroAUROC(2)
    for name in ("scores", "positives", "negatives"):
        setattr(whole, name, torch.cat([getattr(half, name) for half in halves]))
    whole._update_count = 2

    assert whole.compute().item() == pytest.approx(exact(scores, label), abs=1e-12)


def test_a_reset_forgets_all_and_a_copy_keeps_it() -> None:
    metric = MacroAUROC(2)
    metric.update(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([0, 1]))

    assert pickle.loads(pickle.dumps(metric)).compute() == 1
    metric.reset()
    metric.update(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([1, 0]))
    assert metric.compute() == 0
    assert MetricCollection([metric]).compute()["MacroAUROC"] == 0


def test_a_model_separates_rare_classes_by_scores_near_a_thousandth() -> None:
    model = ClassificationNCAModel(torch.device("cpu"), 1, 4, num_classes=2, hidden_size=4)
    rng = np.random.default_rng(0)
    label = (rng.random(500) < 0.2).astype(np.int64)
    scores = two_classes(rare(rng, label))
    metric = model.named_metrics()["auroc"]

    metric.update(scores, torch.from_numpy(label))

    assert metric.compute().item() == pytest.approx(exact(scores, label), abs=1e-12)
    assert metric.compute() > 0.9
