import numpy as np
import pytest
import torch
from torch import Tensor

from ncalab.tasks.depth.ssim import masked_ssim


def ssim_by_hand(x: np.ndarray, y: np.ndarray, valid: np.ndarray, data_range: float) -> float:
    """Compute SSIM window by window, shape ``(W, H)``, each over its valid cells."""
    place = np.arange(-5, 6)
    window = np.exp(-(place[:, None] ** 2 + place**2) / (2 * 1.5**2))
    px, py, pv = (np.pad(a.astype(float), 5, mode="reflect") for a in (x, y, valid))
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    scores = []
    for i, j in zip(*np.nonzero(valid), strict=True):
        cut = (slice(i, i + 11), slice(j, j + 11))
        weight = window * pv[cut]
        weight /= weight.sum()
        a, b = (np.where(pv[cut] > 0, part[cut], 0) for part in (px, py))
        mean_a, mean_b = (weight * a).sum(), (weight * b).sum()
        var_a, var_b = (weight * (a - mean_a) ** 2).sum(), (weight * (b - mean_b) ** 2).sum()
        covariance = (weight * (a - mean_a) * (b - mean_b)).sum()
        luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
        scores.append(luminance * (2 * covariance + c2) / (var_a + var_b + c2))
    return float(np.mean(scores))


def maps(width: int, height: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    target = 5 * torch.rand(1, 1, width, height, generator=generator).double() + 0.5
    noise = torch.randn(1, 1, width, height, generator=generator)
    return target + 0.5 * noise, target


@pytest.mark.parametrize("size", [(17, 12), (8, 6), (5, 5), (2, 30), (1, 1), (1, 4)])
@pytest.mark.parametrize("share", [1.0, 0.6])
def test_every_window_is_measured_over_its_valid_cells(size: tuple[int, int], share: float) -> None:
    preds, target = maps(*size)
    valid = torch.rand(1, 1, *size, generator=torch.Generator().manual_seed(2)) <= share
    valid[..., 0, 0] = True
    target = torch.where(valid, target, float("nan"))

    value = masked_ssim(preds, target, valid, torch.tensor([5.0]))

    want = ssim_by_hand(preds[0, 0].numpy(), target[0, 0].numpy(), valid[0, 0].numpy(), 5.0)
    assert value.item() == pytest.approx(want, abs=1e-9)


def test_what_is_predicted_in_a_hole_has_no_influence_and_no_gradient() -> None:
    preds, target = maps(13, 15)
    valid = torch.ones_like(target, dtype=torch.bool)
    valid[..., 4:8, 3:9] = False
    preds = torch.where(valid, preds, float("inf")).requires_grad_()

    value = masked_ssim(preds, target, valid, torch.tensor([5.0]))
    (gradient,) = torch.autograd.grad(value.sum(), preds)

    assert value.isfinite().all()
    assert gradient[~valid].abs().max() == 0
    assert gradient[valid].isfinite().all() and gradient[valid].abs().max() > 0


def test_a_mirrored_map_is_as_similar() -> None:
    preds, target = maps(12, 40)
    valid = torch.zeros_like(target, dtype=torch.bool)
    valid[..., :20] = True

    value = masked_ssim(preds, target, valid, torch.tensor([5.0]))

    flipped = masked_ssim(preds.flip(-1), target.flip(-1), valid.flip(-1), torch.tensor([5.0]))
    torch.testing.assert_close(value, flipped, atol=1e-12, rtol=0)


def test_the_gradient_is_right() -> None:
    preds, target = maps(7, 8)
    valid = torch.rand(1, 1, 7, 8, generator=torch.Generator().manual_seed(3)) < 0.7

    assert torch.autograd.gradcheck(
        lambda x: masked_ssim(x, target, valid, torch.tensor([5.0]).double()),
        preds.requires_grad_(),
    )


def test_autocast_does_not_spoil_the_variances() -> None:
    preds, target = (depth.float() for depth in maps(16, 16))
    valid = target > 0
    want = masked_ssim(preds, target, valid, torch.tensor([5.0]))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = masked_ssim(preds, target, valid, torch.tensor([5.0]))

    assert torch.equal(value, want)
