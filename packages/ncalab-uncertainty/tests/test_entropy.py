import math
from typing import Any

import pytest
import torch
from torch import Tensor

from ncalab.uncertainty import mutual_information, predictive_entropy


def logits(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_entropy_is_the_sum_over_classes() -> None:
    p = logits(2, 4, 3, 5).softmax(dim=1)

    entropy = predictive_entropy(p)

    torch.testing.assert_close(entropy[:, 0], -(p * p.log()).sum(dim=1))
    assert entropy.shape == (2, 1, 3, 5)


def test_the_entropy_of_a_foreground_counts_the_background() -> None:
    p = torch.tensor([[0.25], [0.0], [1.0]])

    want = [-0.25 * math.log(0.25) - 0.75 * math.log(0.75), 0.0, 0.0]
    torch.testing.assert_close(predictive_entropy(p)[:, 0], torch.tensor(want))


def test_one_logit_has_the_entropy_of_two_classes() -> None:
    x = logits(2, 1, 3, 5)

    two = torch.cat([torch.zeros_like(x), x], dim=1).softmax(dim=1)

    torch.testing.assert_close(predictive_entropy(x.sigmoid()), predictive_entropy(two))


@pytest.mark.parametrize("constant", [-7.5, 3.0, 20.0])
def test_adding_a_constant_to_the_logits_changes_no_entropy(constant: float) -> None:
    x = torch.stack([logits(2, 4, 3, 5, seed=seed) for seed in range(3)])

    before, after = (y.softmax(dim=2) for y in (x, x + constant))

    same: dict[str, Any] = {"rtol": 0, "atol": 1e-5}
    torch.testing.assert_close(predictive_entropy(after[0]), predictive_entropy(before[0]), **same)
    torch.testing.assert_close(mutual_information(after), mutual_information(before), **same)
    assert mutual_information(before).min() > 0.01


def test_the_order_of_classes_changes_no_entropy() -> None:
    p = logits(2, 4, 3, 5).softmax(dim=1)

    torch.testing.assert_close(predictive_entropy(p.flip(1)), predictive_entropy(p))


def test_mutual_information_is_at_most_the_entropy_and_at_least_zero() -> None:
    p = torch.stack([logits(5, 3, seed=seed).softmax(dim=1) for seed in range(4)])

    information = mutual_information(p)

    assert (information >= 0).all()
    assert (information <= predictive_entropy(p.mean(dim=0)) + 1e-6).all()


def test_equal_predictions_tell_nothing_apart() -> None:
    p = logits(5, 3).softmax(dim=1).expand(4, -1, -1)

    assert mutual_information(p).max() < 1e-6


@pytest.mark.parametrize(
    "p", [torch.tensor([[2.0, -1.0]]), torch.tensor([[0.2, 0.2]]), torch.tensor([[1.5]])]
)
def test_what_is_no_probability_is_refused(p: Tensor) -> None:
    with pytest.raises(ValueError, match=r"probabilities must be in \[0, 1\] and sum to 1"):
        predictive_entropy(p)


def test_classes_need_an_axis() -> None:
    with pytest.raises(ValueError, match=r"of shape \(B, K, \.\.\.\)"):
        predictive_entropy(torch.tensor([0.5]))
