import pytest
import torch
from torch import Tensor
from uncertainty_models import make

from ncalab.core import Prediction
from ncalab.uncertainty import nqm_score
from ncalab.uncertainty.spread import Gathering, Spread


def gather(values: Tensor, *, keep: bool = True, kind: str = "values") -> Spread:
    """Gather predictions whose interpreted values are given, shape ``(N, B, K, W, H)``."""
    model = make(kind)
    gathering = Gathering(model, keep)
    for step, logits in enumerate(values):
        gathering.add(Prediction(model, step, logits, logits))
    return gathering.result()


def test_the_moments_are_those_of_all_values_at_once() -> None:
    values = torch.randn(7, 2, 3, 4, 5, generator=torch.Generator().manual_seed(0))

    spread = gather(values)

    torch.testing.assert_close(spread.mean, values.mean(dim=0), rtol=0, atol=1e-6)
    deviation = values.std(dim=0, correction=0)
    torch.testing.assert_close(spread.deviation, deviation, rtol=0, atol=1e-6)
    torch.testing.assert_close(spread.magnitude, values.abs().mean(dim=0), rtol=0, atol=1e-6)


def test_values_far_from_zero_keep_their_deviation() -> None:
    values = torch.tensor([4000.0, 4001.0, 4002.0]).view(3, 1, 1, 1, 1)

    assert gather(values).deviation.item() == pytest.approx((2 / 3) ** 0.5, rel=1e-5)


def test_half_precision_is_gathered_in_single() -> None:
    values = torch.tensor([1.0, 1.0078125]).view(2, 1, 1, 1, 1).bfloat16()

    spread = gather(values)

    assert spread.deviation.dtype == torch.float32
    assert spread.deviation.item() == pytest.approx(0.00390625, rel=1e-5)


def test_one_prediction_has_no_deviation() -> None:
    values = torch.randn(1, 2, 1, 4, 5)

    spread = gather(values)

    assert torch.equal(spread.deviation, torch.zeros(2, 1, 4, 5))
    assert torch.equal(spread.relative, torch.zeros(2, 1, 4, 5))


def test_only_the_last_prediction_stays_if_none_are_kept() -> None:
    values = torch.randn(3, 1, 1, 2, 2)

    assert [p.steps for p in gather(values, keep=False).predictions] == [2]
    assert [p.steps for p in gather(values).predictions] == [0, 1, 2]


def test_the_score_is_the_sum_of_the_deviation_over_that_of_the_mean() -> None:
    deviation = torch.tensor([[[[0.1, 0.2]], [[0.3, 0.0]]]])
    mean = torch.tensor([[[[1.0, 0.5]], [[0.0, 0.1]]]])

    torch.testing.assert_close(nqm_score(deviation, mean), torch.tensor([[0.2, 3.0]]))


def test_more_background_changes_the_mean_but_not_the_score() -> None:
    values = torch.rand(5, 1, 1, 3, 3, generator=torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(values, [0, 9, 0, 9])

    small, large = gather(values), gather(padded)

    torch.testing.assert_close(small.nqm, large.nqm)
    assert large.deviation.mean() < small.deviation.mean() / 10


def test_an_empty_foreground_has_a_score_of_zero() -> None:
    spread = gather(torch.zeros(4, 2, 1, 3, 3))

    assert spread.nqm.tolist() == [[0.0], [0.0]]
    assert torch.equal(spread.relative, torch.zeros(2, 1, 3, 3))


def test_the_normalized_deviation_sums_up_to_the_score() -> None:
    spread = gather(torch.rand(4, 2, 3, 5, 5))

    torch.testing.assert_close(spread.relative.sum(dim=(2, 3)), spread.nqm)


def test_values_around_zero_are_normalized_by_their_magnitude() -> None:
    spread = gather(torch.tensor([-1.0, 1.0]).view(2, 1, 1, 1, 1))

    assert spread.nqm.item() == 1.0


def test_shapes_that_differ_are_named() -> None:
    with pytest.raises(ValueError, match="deviation and mean must have the same shape"):
        nqm_score(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 3))
