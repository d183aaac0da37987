"""Losses of pixel-wise tasks: Dice, cross-entropy and focal loss, all of them on logits."""

from collections.abc import Sequence
from numbers import Real

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.loss import _WeightedLoss

from ncalab.core.argument_types import check_integer, check_optional_integer, check_types
from ncalab.core.checks import check_device, check_flag, check_non_negative
from ncalab.tasks.labels import as_classes, check_range, class_targets


def _probabilities(x: Tensor, y: Tensor) -> Tensor:
    """Return what a prediction gives to each pixel and class, at least in single precision."""
    if not x.is_floating_point():
        return x.float()
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    return x.sigmoid() if as_classes(x, y) is None else x.softmax(dim=1)


def soft_dice(
    x: Tensor,
    y: Tensor,
    smooth: float = 1.0,
    *,
    ignore_index: int | None = None,
    validate_args: bool = True,
) -> Tensor:
    """Measure the overlap of each sample and channel.

    Source: Milletari et al., V-Net, 3DV 2016, doi:10.1109/3DV.2016.79; with plain instead of
    squared sums in the denominator, so that hard masks give the Dice coefficient.

    Args:
        x: Logits, as in :class:`DiceScore`.
        y: Labels, as in :class:`DiceScore`.
        smooth: Added to numerator and denominator, at least 0.
        ignore_index: Label of pixels that do not count.
        validate_args: Whether to check that values are in range.

    Returns:
        Scores in [0, 1], shape ``(B, C)``. Nothing predicted where nothing is labelled is a
        perfect score of 1.

    >>> mask = torch.tensor([[[0, 1, 1]]])
    >>> soft_dice(mask, torch.tensor([[[1, 1, 0]]]), smooth=0).item()
    0.5
    """
    check_non_negative("smooth", smooth)
    target, valid = class_targets(x, y, ignore_index, validate_args=validate_args)
    if validate_args and not x.is_floating_point():
        check_range("x", x, 1)
    probability = _probabilities(x, y).masked_fill(~valid, 0)
    # What has no batch axis is one sample; image rows are neither samples nor channels.
    shape = x.shape[:2] if x.ndim >= 4 else (x.shape[0] if x.ndim == 3 else 1, 1)
    probability, target = probability.reshape(*shape, -1), target.reshape(*shape, -1)
    overlap = 2 * (probability * target).sum(dim=2) + smooth
    total = probability.sum(dim=2) + target.sum(dim=2) + smooth
    empty = total == 0
    return torch.where(empty, 1, overlap / torch.where(empty, 1, total))


def pixel_cross_entropy(
    x: Tensor, y: Tensor, *, ignore_index: int | None = None, validate_args: bool = True
) -> Tensor:
    """Return the cross-entropy of logits and labels, averaged over pixels, then over samples.

    Args:
        x: Logits, as in :class:`DiceScore`, floating point.
        y: Labels, as in :class:`DiceScore`. Class indices give the cross-entropy of a softmax;
            masks give the binary one of a sigmoid, in its form for logits, whose gradient does
            not vanish however wrong a logit is.
        ignore_index: Label of pixels that do not count.
        validate_args: Whether to check that values are in range.

    Returns:
        Scalar, in nats.

    >>> pixel_cross_entropy(torch.tensor([[[-200.0]]]), torch.tensor([[[1]]])).item()
    200.0
    """
    target, valid = class_targets(x, y, ignore_index, validate_args=validate_args)
    x = x.to(target.dtype)
    if as_classes(x, y) is None:
        entropy = F.binary_cross_entropy_with_logits(x, target, reduction="none")
    else:
        entropy = F.cross_entropy(x, target, reduction="none")
        valid = valid[:, 0]
    if ignore_index is None:
        return entropy.mean()
    batch = x.shape[0] if x.ndim >= 3 else 1
    entropy, valid = entropy.reshape(batch, -1), valid.reshape(batch, -1)
    # A sample without a pixel that counts adds nothing.
    return (entropy.masked_fill(~valid, 0).sum(dim=1) / valid.sum(dim=1).clamp(min=1)).mean()


class DiceScore(nn.Module):
    """Dice overlap of predictions and labels: the mean over samples and channels.

    Args:
        ignore_index: Label of pixels that do not count, None if all do.
        validate_args: Whether to check that values are in range, for which the host waits for the
            device.

    >>> mask = torch.tensor([[[0, 1], [1, 1]]])
    >>> score = DiceScore()
    >>> score(mask, mask).item()
    1.0
    >>> round(score(mask * 20.0 - 10, mask).item(), 3)  # logits of -10 and 10
    1.0
    """

    def __init__(self, *, ignore_index: int | None = None, validate_args: bool = True) -> None:
        super().__init__()
        self.ignore_index = check_optional_integer("ignore_index", ignore_index)
        self.validate_args = check_flag("validate_args", validate_args)

    def forward(self, x: Tensor, y: Tensor, smooth: float = 1.0) -> Tensor:
        """Compute the score.

        Args:
            x: Prediction, shape ``(B, C, W, H)``, ``(B, W, H)`` or ``(W, H)``. Floating-point
                values are logits and go through a sigmoid, or, if ``y`` holds class indices,
                through a softmax over C. A hard mask is bool or integer, 0 or 1, and is taken as
                it is: a floating-point one would be taken for logits.
            y: Labels: a mask of the shape of ``x`` (an axis C of one may be missing), in [0, 1];
                or class indices in [0, C), integers, shape ``(B, W, H)`` or ``(B, 1, W, H)``.
            smooth: Added to numerator and denominator, at least 0. An empty prediction of an
                empty mask scores 1 in any case.

        Returns:
            Scalar in [0, 1].

        Raises:
            TypeError: If class indices are not integers.
            ValueError: If shapes do not go together, or a value is out of range.
        """
        return soft_dice(
            x, y, smooth, ignore_index=self.ignore_index, validate_args=self.validate_args
        ).mean()


class DiceLoss(nn.Module):
    """One minus the Dice score.

    Args:
        ignore_index: Label of pixels that do not count, None if all do.
        validate_args: Whether to check that values are in range, for which the host waits for the
            device.

    >>> DiceLoss()(torch.full((1, 2, 2), -50.0), torch.zeros(1, 2, 2)).item()
    0.0
    """

    def __init__(self, *, ignore_index: int | None = None, validate_args: bool = True) -> None:
        super().__init__()
        self.dicescore = DiceScore(ignore_index=ignore_index, validate_args=validate_args)

    def forward(self, x: Tensor, y: Tensor, smooth: float = 1.0) -> Tensor:
        """Compute the loss; see :meth:`DiceScore.forward` for arguments and errors.

        Args:
            x: Logits, shape ``(B, C, W, H)``, ``(B, W, H)`` or ``(W, H)``.
            y: Labels.
            smooth: Added to numerator and denominator.

        Returns:
            Scalar in [0, 1].
        """
        score: Tensor = self.dicescore(x, y, smooth)
        return 1 - score


class DiceBCELoss(nn.Module):
    """One minus the Dice score, plus the cross-entropy of every pixel.

    The cross-entropy is binary (BCE) for masks, and that of a softmax for class indices.

    Args:
        ignore_index: Label of pixels that do not count, None if all do.
        validate_args: Whether to check that values are in range, for which the host waits for the
            device.

    >>> loss = DiceBCELoss()(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2), smooth=0)
    >>> round(loss.item(), 4)  # 1 - 2/3 + ln 2
    1.0265
    """

    def __init__(self, *, ignore_index: int | None = None, validate_args: bool = True) -> None:
        super().__init__()
        self.dicescore = DiceScore(ignore_index=ignore_index, validate_args=validate_args)

    def forward(self, x: Tensor, y: Tensor, smooth: float = 1.0) -> Tensor:
        """Compute the loss; see :meth:`DiceScore.forward` for arguments and errors.

        Args:
            x: Logits, shape ``(B, C, W, H)``, ``(B, W, H)`` or ``(W, H)``, floating point.
            y: Labels.
            smooth: Added to numerator and denominator of the Dice score.

        Returns:
            Scalar, at least 0.
        """
        score: Tensor = self.dicescore(x, y, smooth)
        # The score has looked at the labels already.
        ignored = self.dicescore.ignore_index
        entropy = pixel_cross_entropy(x, y, ignore_index=ignored, validate_args=False)
        return 1 - score + entropy


class PixelCrossEntropy(nn.Module):
    """Cross-entropy of every pixel: binary for masks, that of a softmax for class indices.

    Args:
        ignore_index: Label of pixels that do not count, None if all do.
        validate_args: Whether to check that values are in range, for which the host waits for the
            device.

    >>> round(PixelCrossEntropy()(torch.zeros(1, 4, 1, 1), torch.zeros(1, 1, 1).long()).item(), 4)
    1.3863
    """

    def __init__(self, *, ignore_index: int | None = None, validate_args: bool = True) -> None:
        super().__init__()
        self.ignore_index = check_optional_integer("ignore_index", ignore_index)
        self.validate_args = check_flag("validate_args", validate_args)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Compute the loss; see :meth:`DiceScore.forward` for arguments and errors.

        Args:
            x: Logits, shape ``(B, C, W, H)``, ``(B, W, H)`` or ``(W, H)``, floating point.
            y: Labels.

        Returns:
            Scalar, at least 0, in nats.
        """
        return pixel_cross_entropy(
            x, y, ignore_index=self.ignore_index, validate_args=self.validate_args
        )


class FocalLoss(_WeightedLoss):
    """Cross-entropy that counts what is already predicted well for less.

    Source: Lin et al., Focal Loss for Dense Object Detection, ICCV 2017, arXiv:1708.02002,
    equation 5: ``-w_t (1 - p_t)^gamma log p_t``, here averaged over all predictions. The weights
    scale their classes; unlike those of torch's cross-entropy, they do not divide the mean.

    Args:
        weight: Weight of each class, shape ``(C,)``, at least 0; None for 1 each.
        gamma: Focus on what is predicted badly, at least 0; 0 is the cross-entropy.
        device: Where the weights are kept. The loss is computed where its input is.
        ignore_index: Label of predictions that do not count.

    Raises:
        ValueError: If ``gamma`` or a weight is negative.

    >>> logits, target = torch.tensor([[0.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 1])
    >>> round(FocalLoss()(logits, target).item(), 4)  # ln 2 / 4
    0.1733
    >>> round(FocalLoss(weight=torch.tensor([1.0, 3.0]))(logits, target).item(), 4)
    0.3466
    """

    def __init__(
        self,
        weight: Tensor | Sequence[float] | None = None,
        gamma: float = 2,
        device: torch.device | str = "cpu",
        *,
        ignore_index: int = -100,
    ) -> None:
        check_device("device", device)
        if weight is not None:
            check_types("weight", weight, Real)
            weight = torch.as_tensor(weight, dtype=torch.get_default_dtype())
            if weight.ndim != 1 or not bool((weight >= 0).all()):
                raise ValueError(f"weight must be (C,) and at least 0, got {weight.tolist()}")
            weight = weight.to(device)
        check_non_negative("gamma", gamma)
        super().__init__(weight)
        self.gamma = gamma
        self.device = device
        self.ignore_index = check_integer("ignore_index", ignore_index)
        self.ce_loss = nn.CrossEntropyLoss(reduction="none", ignore_index=ignore_index)

    def forward(self, _input: Tensor, _target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            _input: Logits, shape ``(B, C)`` or ``(B, C, W, H)``; with C = 1, the logit of class 1
                against class 0.
            _target: Class indices, integers, shape ``(B,)`` or ``(B, W, H)``, or the same with
                an axis of one in place of C.

        Returns:
            Scalar, at least 0, on the device of ``_input``; 0 if nothing counts.

        Raises:
            TypeError: If the class indices are not integers.
            ValueError: If shapes do not go together, or a class or the weights do not fit C.
        """
        target = self._check(_input, _target)
        logits = _input.to(torch.promote_types(_input.dtype, torch.float32))
        if logits.shape[1] == 1:
            logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
        entropy: Tensor = self.ce_loss(logits, target)  # -log p_t
        # 1 - p_t, exact for small ones; above 0, where the power's slope is finite.
        missing = (-torch.expm1(-entropy)).clamp(min=torch.finfo(entropy.dtype).tiny)
        losses = missing**self.gamma * entropy
        valid = target != self.ignore_index
        if self.weight is not None:
            losses = losses * self.weight.to(losses)[target.masked_fill(~valid, 0)]
        return losses.masked_fill(~valid, 0).sum() / valid.sum().clamp(min=1)

    def _check(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the class indices without a channel axis, as int64."""
        if target.ndim == logits.ndim and target.shape[1] == 1:
            target = target[:, 0]
        if logits.ndim < 2 or target.shape != (logits.shape[0], *logits.shape[2:]):
            raise ValueError(
                f"_target must have shape (B,) or (B, W, H) for _input (B, C) or (B, C, W, H), "
                f"got {tuple(target.shape)} for {tuple(logits.shape)}"
            )
        if target.is_floating_point():
            raise TypeError(f"_target must hold integers, got {target.dtype}")
        classes = max(2, logits.shape[1])
        check_range("_target", target, classes - 1, self.ignore_index)
        if self.weight is not None and len(self.weight) != classes:
            raise ValueError(f"weight must have {classes} entries, got {len(self.weight)}")
        return target.long()
