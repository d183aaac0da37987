from itertools import permutations

import numpy as np
import pytest
import torch
from torch import Tensor

from ncalab.uncertainty import aurc, excess_aurc, failure_auroc, risk_coverage_curve


def numbers(n: int, seed: int) -> Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed))


def test_risks_are_means_of_the_surest() -> None:
    uncertainty, errors = numbers(20, 0), numbers(20, 1)

    coverage, risk = risk_coverage_curve(uncertainty, errors)

    order = np.argsort(uncertainty.numpy())
    want = [errors.numpy()[order[: k + 1]].mean() for k in range(20)]
    np.testing.assert_allclose(risk.numpy(), want, rtol=1e-6)
    np.testing.assert_allclose(coverage.numpy(), np.arange(1, 21) / 20)


def test_ties_are_the_mean_over_their_orders() -> None:
    uncertainty, errors = torch.tensor([0.5, 0.1, 0.5, 0.5]), torch.tensor([1.0, 2.0, 4.0, 7.0])

    broken = [
        aurc(uncertainty + 1e-3 * torch.tensor(order), errors)
        for order in permutations([0.0, 1.0, 2.0, 3.0])
    ]

    assert aurc(uncertainty, errors) == pytest.approx(np.mean(broken))


def test_knowing_the_errors_is_best_and_knowing_nothing_is_the_mean() -> None:
    errors = numbers(30, 0)

    best, worst, nothing = (aurc(u, errors) for u in (errors, -errors, torch.zeros(30)))

    assert best < nothing < worst
    assert nothing == pytest.approx(errors.mean().item())
    assert best <= min(aurc(numbers(30, seed), errors) for seed in range(1, 20))


def test_a_random_ranking_reaches_the_mean_error_on_average() -> None:
    errors = torch.tensor([0.0, 0.2, 0.9, 0.4])

    reached = [aurc(torch.tensor(order), errors) for order in permutations([1.0, 2.0, 3.0, 4.0])]

    assert np.mean(reached) == pytest.approx(errors.mean().item())


def test_only_the_order_counts() -> None:
    uncertainty, errors = numbers(20, 0), numbers(20, 1)

    assert aurc(uncertainty.exp() * 9, errors) == aurc(uncertainty, errors)


def test_errors_may_be_bool_and_the_excess_of_the_best_is_zero() -> None:
    wrong = torch.tensor([True, False, True])

    assert excess_aurc(wrong.float(), wrong) == 0
    assert aurc(torch.tensor([1, 2, 3]), wrong) == pytest.approx((1 + 1 / 2 + 2 / 3) / 3)


def test_the_auroc_is_the_share_of_pairs_in_the_right_order() -> None:
    uncertainty, failed = numbers(40, 0).mul(10).round(), numbers(40, 1) < 0.4

    higher = uncertainty[failed][:, None] - uncertainty[~failed][None]
    want = ((higher > 0).double() + 0.5 * (higher == 0).double()).mean().item()
    assert failure_auroc(uncertainty, failed) == pytest.approx(want)


def test_large_scores_are_told_apart() -> None:
    # A sigmoid, which torchmetrics would apply, makes all of them 1.
    uncertainty = torch.tensor([101.0, 102.0, 103.0, 104.0])

    assert failure_auroc(uncertainty, torch.tensor([False, False, True, True])) == 1


@pytest.mark.parametrize("failed", [torch.ones(3), torch.zeros(3)])
def test_failures_and_successes_are_both_needed(failed: Tensor) -> None:
    with pytest.raises(ValueError, match="failed must hold both failures and successes"):
        failure_auroc(torch.rand(3), failed.bool())


def test_failures_are_bool() -> None:
    with pytest.raises(TypeError, match="failed must be a tensor of bool, got torch.float32"):
        failure_auroc(torch.rand(3), torch.tensor([0.1, 0.2, 0.3]))


@pytest.mark.parametrize(
    ("uncertainty", "errors", "message"),
    [
        ([0.1, 0.2], [0.1], r"errors must have the shape of uncertainty, \(2,\), got \(1,\)"),
        ([0.1, float("nan")], [0.1, 0.2], "uncertainty must be finite, got 1 that is not"),
        ([0.1], [float("inf")], "errors must be finite"),
        ([], [], r"uncertainty must have shape \(N,\), N at least 1, got \(0,\)"),
        ([[0.1]], [[0.1]], r"uncertainty must have shape \(N,\)"),
    ],
)
def test_bad_scores_are_named(uncertainty: list[float], errors: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        aurc(torch.tensor(uncertainty), torch.tensor(errors))
