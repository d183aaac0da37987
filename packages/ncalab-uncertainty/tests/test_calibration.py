from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ncalab.uncertainty import expected_calibration_error


def reference(confidence: Any, right: Any, bins: int) -> float:
    """Return the ECE, bin by bin."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    error = 0.0
    for k in range(bins):
        inside = place == k
        if inside.any():
            error += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(error)


def random_probabilities(*shape: int) -> Tensor:
    logits = 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    return logits.sigmoid() if shape[1] == 1 else logits.softmax(dim=1)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_several_classes_agree_with_a_loop_over_bins(bins: int) -> None:
    p = random_probabilities(3, 4, 7, 5)
    labels = torch.randint(4, (3, 7, 5), generator=torch.Generator().manual_seed(1))

    confidence, predicted = p.max(dim=1)
    want = reference(confidence.numpy(), (predicted == labels).numpy(), bins)
    assert expected_calibration_error(p, labels, bins=bins) == pytest.approx(want, abs=1e-5)


def test_a_foreground_agrees_with_a_loop_over_bins() -> None:
    p = random_probabilities(3, 1, 7, 5)
    labels = torch.randint(2, (3, 1, 7, 5), generator=torch.Generator().manual_seed(1))

    want = reference(p.numpy(), labels.numpy(), 15)
    assert expected_calibration_error(p, labels) == pytest.approx(want, abs=1e-5)


def test_channels_stay_with_their_cell() -> None:
    labels = torch.randint(3, (2, 7, 5), generator=torch.Generator().manual_seed(1))
    p = torch.nn.functional.one_hot(labels, 3).movedim(-1, 1).float()

    assert expected_calibration_error(p, labels) == 0
    assert expected_calibration_error(p, (labels + 1) % 3) == 1


def test_whole_images_are_measured_too() -> None:
    p = torch.tensor([[0.7, 0.3], [0.7, 0.3], [0.7, 0.3], [0.7, 0.3]])

    assert expected_calibration_error(p, torch.tensor([0, 0, 0, 1])) == pytest.approx(0.05)


def test_norms_other_than_the_mean_are_there() -> None:
    p = torch.tensor([[0.9, 0.1], [0.6, 0.4]])
    labels = torch.tensor([0, 1])

    assert expected_calibration_error(p, labels, norm="max") == pytest.approx(0.6)
    assert expected_calibration_error(p, labels, norm="l2") == pytest.approx((0.37 / 2) ** 0.5)


@pytest.mark.parametrize(
    ("p", "labels", "message"),
    [
        (torch.full((2, 2), 3.0), torch.zeros(2).long(), r"probabilities must be in \[0, 1\]"),
        (torch.full((2, 2), torch.nan), torch.zeros(2).long(), "probabilities must be in"),
        (torch.rand(2), torch.zeros(2).long(), r"of shape \(B, K, \*grid\) or \(B, K\)"),
        (torch.full((2, 2), 0.5), torch.zeros(3).long(), "labels must have shape"),
        (torch.full((2, 2), 0.5), torch.tensor([0, 2]), r"labels must be in \[0, 1\], got 0 to 2"),
        (torch.full((2, 2), 0.5), torch.zeros(2), "labels must be integers, got torch.float32"),
    ],
)
def test_bad_input_is_named(p: Tensor, labels: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        expected_calibration_error(p, labels)


def test_options_are_checked() -> None:
    p, labels = torch.full((2, 2), 0.5), torch.zeros(2).long()

    with pytest.raises(ValueError, match="bins must be at least 1, got 0"):
        expected_calibration_error(p, labels, bins=0)
    with pytest.raises(ValueError, match="norm must be one of l1, l2, max"):
        expected_calibration_error(p, labels, norm="l3")  # type: ignore[arg-type]  # of a wrong type
