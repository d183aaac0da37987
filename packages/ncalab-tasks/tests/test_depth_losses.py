from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ncalab.tasks.depth.losses import gradient_error, scale_shift_error, squared_error

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
LOSSES: list[Loss] = [squared_error, scale_shift_error, gradient_error]


def maps(width: int = 11, height: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Return predicted and true depth of three images, and which cells are valid."""
    generator = torch.Generator().manual_seed(0)
    target = 3 * torch.rand(3, 1, width, height, generator=generator).double() + 1
    preds = target + torch.randn(3, 1, width, height, generator=generator)
    valid = torch.rand(3, 1, width, height, generator=generator) < 0.7
    return preds, torch.where(valid, target, float("nan")), valid


def test_the_squared_error_is_that_of_the_valid_cells() -> None:
    preds, target, valid = maps()

    values = squared_error(preds, target, valid)

    want = [((p - t)[v] ** 2).mean() for p, t, v in zip(preds, target, valid, strict=True)]
    torch.testing.assert_close(values, torch.stack(want))


def test_the_scale_shift_error_is_the_residual_of_least_squares() -> None:
    preds, target, valid = maps()

    values = scale_shift_error(preds, target, valid)

    for value, p, t, v in zip(values, preds, target, valid, strict=True):
        columns = np.stack([p[v].numpy(), np.ones(int(v.sum()))], axis=1)
        residual = np.linalg.lstsq(columns, t[v].numpy(), rcond=None)[1][0] / int(v.sum())
        assert value.item() == pytest.approx(residual, rel=1e-9)


def test_scale_and_shift_of_the_prediction_do_not_matter_to_it() -> None:
    preds, target, valid = maps()

    values = scale_shift_error(7 * preds - 30, target, valid)

    torch.testing.assert_close(values, scale_shift_error(preds, target, valid))


def test_a_flat_prediction_leaves_the_variance_of_the_label_and_a_gradient_of_zero() -> None:
    _, target, valid = maps()
    preds = torch.full_like(target, 2.0).requires_grad_()

    values = scale_shift_error(preds, target, valid)
    (gradient,) = torch.autograd.grad(values.sum(), preds)

    want = [t[v].var(correction=0) for t, v in zip(target, valid, strict=True)]
    torch.testing.assert_close(values, torch.stack(want))
    assert gradient.abs().max() == 0


def test_the_gradient_of_a_nearly_flat_prediction_is_bounded() -> None:
    preds, target, valid = maps()
    nearly_flat = (2 + 1e-9 * preds).requires_grad_()

    (gradient,) = torch.autograd.grad(
        scale_shift_error(nearly_flat, target, valid).sum(), nearly_flat
    )

    # The scale is at most 100 and the residual at most 3; without the bound: 1e6.
    assert gradient.abs().max() < 2 * 100 * 3 / valid.sum(dim=(1, 2, 3)).min()


def neighbour_error_by_hand(residual: np.ndarray, valid: np.ndarray) -> float:
    """Average absolute differences of valid neighbours, shape ``(W, H)``, scale by scale."""
    scales = []
    for step in (1, 2, 4, 8):
        r, v = residual[::step, ::step], valid[::step, ::step]
        if max(r.shape) == 1 and step > 1:
            continue
        total = 0.0
        for axis in (0, 1):
            pairs = [
                abs(a - b)
                for line, known in zip(
                    np.moveaxis(r, axis, 1), np.moveaxis(v, axis, 1), strict=True
                )
                for a, b, c, d in zip(line, line[1:], known, known[1:], strict=False)
                if c and d
            ]
            total += float(np.mean(pairs)) if pairs else 0.0
        scales.append(total)
    return float(np.mean(scales))


@pytest.mark.parametrize("size", [(11, 6), (3, 20), (2, 2), (1, 1), (1, 9)])
def test_the_gradient_error_is_the_mean_over_pairs_of_valid_neighbours(
    size: tuple[int, int],
) -> None:
    preds, target, valid = maps(*size)

    values = gradient_error(preds, target, valid)

    for value, p, t, v in zip(values, preds, target, valid, strict=True):
        want = neighbour_error_by_hand((p - t)[0].numpy(), v[0].numpy())
        assert value.item() == pytest.approx(want, rel=1e-9)


@pytest.mark.parametrize("loss", LOSSES)
def test_an_image_has_the_same_loss_alone_and_in_a_batch(loss: Loss) -> None:
    preds, target, valid = maps()

    alone = [loss(preds[i : i + 1], target[i : i + 1], valid[i : i + 1]) for i in range(3)]

    torch.testing.assert_close(loss(preds, target, valid), torch.cat(alone))


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_not_valid_gives_neither_loss_nor_gradient(loss: Loss) -> None:
    preds, target, valid = maps()
    valid[1] = False
    wild = torch.where(valid, preds, float("nan")).requires_grad_()

    values = loss(wild, target, valid)
    (gradient,) = torch.autograd.grad(values.sum(), wild)

    assert values[1] == 0
    torch.testing.assert_close(values[::2], loss(preds, target, valid)[::2])
    assert gradient[~valid].abs().max() == 0 and gradient.isfinite().all()


@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_is_right(loss: Loss) -> None:
    preds, target, valid = maps(5, 4)
    check: Any = torch.autograd.gradcheck

    assert check(lambda x: loss(x, target, valid), preds.requires_grad_())
