import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from sklearn.metrics import f1_score
from torch import Tensor, nn

from ncalab.tasks import DiceBCELoss, DiceLoss, DiceScore, FocalLoss
from ncalab.tasks.losses import PixelCrossEntropy, soft_dice


def logits(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def classes(top: int, *shape: int, seed: int = 1) -> Tensor:
    return torch.randint(0, top, shape, generator=torch.Generator().manual_seed(seed))


def dice_by_loops(probability: Tensor, target: Tensor, smooth: float) -> float:
    """Mean over samples and channels of arrays (B, C, W, H), cell by cell."""
    scores = []
    for one, other in zip(probability.flatten(0, 1), target.flatten(0, 1), strict=True):
        overlap = size = 0.0
        for p, t in zip(one.flatten().tolist(), other.flatten().tolist(), strict=True):
            overlap, size = overlap + p * t, size + p + t
        scores.append((2 * overlap + smooth) / (size + smooth))
    return sum(scores) / len(scores)


def focal_by_loops(x: Tensor, y: Tensor, weight: list[float], gamma: float) -> float:
    """Equation 5 of the paper for logits (N, C), sample by sample."""
    losses = []
    for row, target in zip(x.tolist(), y.tolist(), strict=True):
        p = math.exp(row[target]) / sum(math.exp(value) for value in row)
        losses.append(-weight[target] * (1 - p) ** gamma * math.log(p))
    return float(sum(losses) / len(losses))


def two_discs() -> tuple[Tensor, Tensor]:
    """Two masks (1, W, H) whose overlap is not symmetric about the middle."""
    along_w, along_h = torch.arange(64)[:, None], torch.arange(64)[None, :]
    first = (along_w - 24) ** 2 + (along_h - 30) ** 2 <= 12**2
    second = (along_w - 32) ** 2 + (along_h - 36) ** 2 <= 15**2
    return first[None], second[None]


# Dice


@pytest.mark.parametrize("smooth", [1.0, 0.25])
def test_binary_dice_is_that_of_the_definition(smooth: float) -> None:
    x, y = logits(3, 1, 5, 4), classes(2, 3, 1, 5, 4)

    score = DiceScore()(x, y, smooth)

    assert score.item() == pytest.approx(dice_by_loops(x.sigmoid(), y, smooth), abs=1e-12)


@pytest.mark.parametrize("count", [3, 12])
def test_dice_of_classes_is_that_of_a_softmax(count: int) -> None:
    x, y = logits(2, count, 5, 4), classes(count, 2, 5, 4)

    score = DiceScore()(x, y)

    one_hot = torch.stack([y == k for k in range(count)], dim=1)
    want = dice_by_loops(x.softmax(dim=1), one_hot, 1.0)
    assert score.item() == pytest.approx(want, abs=1e-12)


def test_several_masks_of_the_shape_of_the_logits_may_overlap() -> None:
    x, y = logits(2, 3, 5, 4), classes(2, 2, 3, 5, 4)

    score = DiceScore()(x, y)

    assert score.item() == pytest.approx(dice_by_loops(x.sigmoid(), y, 1.0), abs=1e-12)


def test_dice_of_hard_masks_is_the_f1_score_however_they_are_mirrored() -> None:
    first, second = two_discs()
    want = f1_score(second.numpy().ravel(), first.numpy().ravel())

    for axes in ((), (1,), (2,), (1, 2)):
        score = DiceScore()(first.flip(axes), second.flip(axes), 0.0)
        assert score.item() == pytest.approx(want, abs=1e-6)
    transposed = DiceScore()(first.transpose(1, 2), second.transpose(1, 2), 0.0)
    assert transposed.item() == pytest.approx(want, abs=1e-6)


def test_rows_of_an_image_are_no_classes() -> None:
    first, second = two_discs()

    alone = DiceScore()(first[0], second[0])

    assert torch.equal(alone, DiceScore()(first, second))
    assert torch.equal(alone, DiceScore()(first[None], second[None]))


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int64])
def test_a_hard_mask_overlaps_with_itself_fully(dtype: torch.dtype) -> None:
    mask = two_discs()[0].to(dtype)

    assert DiceScore()(mask, mask).item() == 1
    assert DiceLoss()(mask, mask).item() == 0


def test_a_hard_mask_has_no_other_values_than_0_and_1() -> None:
    with pytest.raises(ValueError, match=r"x must be in \[0, 1\], got 0 to 2"):
        DiceScore()(classes(3, 1, 4, 4), torch.zeros(1, 4, 4))


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_nothing_predicted_of_nothing_labelled_is_perfect(smooth: float) -> None:
    nothing = torch.zeros(2, 4, 4, dtype=torch.bool)

    assert DiceScore()(nothing, nothing, smooth).item() == 1
    assert DiceLoss()(torch.full((2, 4, 4), -50.0), nothing, 1.0).item() == pytest.approx(0)


def test_the_loss_of_a_batch_is_the_mean_of_its_samples() -> None:
    x, y = logits(5, 3, 6, 4), classes(3, 5, 6, 4)
    y[0] = 0  # pooled over the batch, an empty sample would count for less

    for loss in (DiceLoss(), DiceBCELoss(), PixelCrossEntropy(), FocalLoss([1.0, 2.0, 5.0])):
        alone = torch.stack([loss(x[i : i + 1], y[i : i + 1]) for i in range(5)])
        torch.testing.assert_close(loss(x, y), alone.mean())
        torch.testing.assert_close(loss(torch.cat([x, x]), torch.cat([y, y])), loss(x, y))


def test_half_precision_is_summed_in_single_precision() -> None:
    x = torch.full((1, 1, 300, 300), 8.0, dtype=torch.float16)

    score = DiceScore()(x, torch.ones(1, 300, 300))

    assert score.item() == pytest.approx(1.0, abs=1e-3)  # float16 would overflow at 65504


# Cross-entropy


def test_dice_and_bce_add_up() -> None:
    x, y = logits(3, 1, 5, 4), classes(2, 3, 5, 4)

    loss = DiceBCELoss()(x, y)

    bce = F.binary_cross_entropy_with_logits(x[:, 0], y.double())
    torch.testing.assert_close(loss, DiceLoss()(x, y) + bce)


def test_the_cross_entropy_of_classes_is_that_of_torch() -> None:
    x, y = logits(3, 4, 5, 6), classes(4, 3, 1, 5, 6)
    y[0, 0, :2] = 255

    torch.testing.assert_close(
        PixelCrossEntropy(ignore_index=255)(x[1:], y[1:]), F.cross_entropy(x[1:], y[1:, 0])
    )
    torch.testing.assert_close(
        PixelCrossEntropy(ignore_index=255)(x[:1], y[:1]),
        F.cross_entropy(x[:1], y[:1, 0], ignore_index=255),
    )


@pytest.mark.parametrize("loss", [DiceBCELoss(), PixelCrossEntropy()])
def test_the_gradient_does_not_vanish_at_a_logit_of_minus_200(loss: nn.Module) -> None:
    x = torch.full((1, 1, 2, 2), -200.0, requires_grad=True)

    value = loss(x, torch.ones(1, 2, 2))
    value.backward()

    assert 200 <= value.item() <= 201
    assert x.grad is not None
    torch.testing.assert_close(x.grad, torch.full_like(x, -0.25), atol=1e-6, rtol=0)


@pytest.mark.parametrize("loss", [DiceLoss(), DiceBCELoss(), FocalLoss(), FocalLoss(gamma=0.5)])
def test_large_logits_have_finite_losses_and_gradients(loss: nn.Module) -> None:
    x = torch.tensor([1e4, -1e4, 0.0]).repeat(2, 1)[:, :, None, None].requires_grad_()

    value = loss(x, torch.tensor([[[0]], [[1]]]))
    value.backward()

    assert x.grad is not None
    assert value.isfinite() and x.grad.isfinite().all()


# What is ignored, and bad labels


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("loss_type", [DiceLoss, DiceBCELoss, PixelCrossEntropy])
def test_ignored_pixels_change_nothing(loss_type: type[nn.Module], count: int) -> None:
    x, y = logits(2, count, 4, 6), classes(max(2, count), 2, 4, 6)
    y[:, :, 4:] = 255
    x.requires_grad_()

    loss = loss_type(ignore_index=255)(x, y)
    loss.backward()

    torch.testing.assert_close(loss, loss_type()(x[..., :4], y[..., :4]))
    assert x.grad is not None
    assert torch.equal(x.grad[..., 4:], torch.zeros(2, count, 4, 2, dtype=torch.float64))


def test_a_sample_without_pixels_that_count_has_a_loss() -> None:
    x, y = logits(2, 3, 4, 4), torch.full((2, 4, 4), 255)

    assert DiceBCELoss(ignore_index=255)(x, y).item() == pytest.approx(0)
    assert FocalLoss(ignore_index=255)(x, y).item() == 0


@pytest.mark.parametrize(
    ("x", "y", "error", "message"),
    [
        (logits(2, 1, 4, 6), classes(2, 2, 6, 4), ValueError, r"got \(2, 6, 4\) for x \(2, 1,"),
        (logits(2, 3, 4, 6), classes(2, 2, 2, 4, 6), ValueError, r"got \(2, 2, 4, 6\) for x"),
        (logits(1, 1, 4, 4), torch.full((1, 4, 4), 255), ValueError, r"y must be in \[0, 1\]"),
        (logits(1, 3, 4, 4), torch.full((1, 4, 4), 3), ValueError, r"y must be in \[0, 2\]"),
        (logits(1, 3, 4, 4), torch.full((1, 4, 4), -1), ValueError, "got -1 to -1"),
        (logits(1, 3, 4, 4), torch.rand(1, 4, 4), TypeError, "y must hold integers"),
        (logits(1, 1, 4, 4), torch.full((1, 4, 4), math.nan), ValueError, "got nan to nan"),
    ],
)
def test_labels_that_do_not_fit_are_named(
    x: Tensor, y: Tensor, error: type[Exception], message: str
) -> None:
    for loss in (DiceScore(), DiceLoss(), DiceBCELoss(), PixelCrossEntropy()):
        with pytest.raises(error, match=message):
            loss(x, y)


def test_a_negative_smooth_is_refused() -> None:
    with pytest.raises(ValueError, match="smooth must be at least 0 and finite, got -1"):
        soft_dice(torch.zeros(1, 2, 2), torch.zeros(1, 2, 2), -1)


# Focal loss


@pytest.mark.parametrize("gamma", [0, 0.5, 2, 5])
def test_focal_loss_is_that_of_the_paper(gamma: float) -> None:
    x, y = logits(20, 4), classes(4, 20)
    weight = [0.5, 1.0, 2.0, 4.0]

    loss = FocalLoss(weight, gamma)(x, y)

    assert loss.shape == ()
    assert loss.item() == pytest.approx(focal_by_loops(x, y, weight, gamma), rel=1e-6)


def test_focal_loss_without_focus_is_the_cross_entropy() -> None:
    x, y = logits(2, 4, 5, 6), classes(4, 2, 5, 6)
    weight = torch.tensor([0.5, 1.0, 2.0, 4.0], dtype=torch.float64)

    torch.testing.assert_close(FocalLoss(gamma=0)(x, y), F.cross_entropy(x, y))
    torch.testing.assert_close(
        FocalLoss(weight, 0)(x, y), F.cross_entropy(x, y, weight, reduction="none").mean()
    )


def test_the_weight_of_a_class_scales_its_loss_even_if_it_is_alone() -> None:
    x, y = logits(4, 2), torch.ones(4, dtype=torch.int64)

    light, heavy = FocalLoss([1.0, 1.0])(x, y), FocalLoss([1.0, 3.0])(x, y)

    torch.testing.assert_close(heavy, 3 * light)


def test_focal_loss_of_pixels_is_that_of_the_same_rows() -> None:
    x, y = logits(2, 4, 5, 6), classes(4, 2, 1, 5, 6)

    rows = x.movedim(1, -1).reshape(-1, 4)

    torch.testing.assert_close(FocalLoss()(x, y), FocalLoss()(rows, y.flatten()))


def test_one_logit_stands_against_zero() -> None:
    x, y = logits(7, 1), classes(2, 7)

    torch.testing.assert_close(
        FocalLoss()(x, y), FocalLoss()(torch.cat([torch.zeros_like(x), x], dim=1), y)
    )


def test_focal_loss_follows_its_input_not_its_device_argument() -> None:
    loss = FocalLoss([1.0, 2.0], device="meta")

    value = FocalLoss(device="meta")(logits(3, 2).float(), classes(2, 3))

    assert loss.device == "meta"
    assert loss.weight is not None and loss.weight.device.type == "meta"
    assert value.device.type == "cpu" and value.dtype == torch.float32


def test_the_slope_of_focal_loss_is_that_of_finite_differences() -> None:
    x = logits(3, 4).requires_grad_()

    assert torch.autograd.gradcheck(lambda x: FocalLoss([0.5, 1, 2, 4])(x, classes(4, 3)), x)


@pytest.mark.parametrize(
    ("arguments", "target", "error", "message"),
    [
        ({}, torch.tensor([0, 1]), ValueError, r"got \(2,\) for \(3, 4\)"),
        ({}, torch.tensor([0, 1, 4]), ValueError, r"_target must be in \[0, 3\]"),
        ({}, torch.tensor([0.0, 1.0, 2.0]), TypeError, "_target must hold integers"),
        ({"weight": [1.0, 2.0]}, torch.tensor([0, 1, 2]), ValueError, "weight must have 4 entries"),
    ],
)
def test_focal_loss_names_what_does_not_fit(
    arguments: dict[str, Any], target: Tensor, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        FocalLoss(**arguments)(logits(3, 4), target)


def test_focal_loss_refuses_negative_arguments() -> None:
    with pytest.raises(ValueError, match="gamma must be at least 0"):
        FocalLoss(gamma=-1)
    with pytest.raises(ValueError, match=r"weight must be \(C,\) and at least 0"):
        FocalLoss([-1.0, 2.0])


def test_class_weights_are_part_of_what_moves() -> None:
    loss = FocalLoss([1.0, 2.0]).double()

    assert [name for name, _ in loss.named_buffers()] == ["weight"]
    assert loss.weight is not None and loss.weight.dtype == torch.float64
