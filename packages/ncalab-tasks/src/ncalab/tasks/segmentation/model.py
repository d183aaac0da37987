"""The model that gives every cell a class."""

from typing import Any

import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.argument_types import check_optional_integer
from ncalab.core.checks import check_int, check_non_negative
from ncalab.core.perception import FilterPadding
from ncalab.tasks.hidden import add_hidden_penalty
from ncalab.tasks.labels import check_range
from ncalab.tasks.losses import DiceLoss, PixelCrossEntropy
from ncalab.tasks.segmentation.prediction import SegmentationPrediction, mask_of


class SegmentationNCAModel(AbstractNCAModel):
    """Segment images: the output channels of a cell are the logits of its classes.

    The image channels stay as they are. The state carries raw logits; the one sigmoid (or softmax)
    is that of the loss, of :meth:`interpret` or of ``Prediction.mask``.

    Source: Kalkhof et al., Med-NCA: Robust and Lightweight Segmentation with Neural Cellular
    Automata, IPMI 2023, arXiv:2302.03473.

    Args:
        device: Where parameters are created.
        num_image_channels: Number of image channels.
        num_hidden_channels: Number of hidden channels.
        num_classes: Number of classes: 1 for background and foreground told apart by one logit,
            otherwise one logit for each class, background included.
        fire_rate: Probability that a cell is updated at a step, in [0, 1].
        hidden_size: Number of hidden neurons of the rule.
        num_learned_filters: Number of learned perception filters; 0 for Sobel filters.
        pad_noise: Whether hidden and output channels start as noise instead of zeros.
        filter_padding: How the grid continues beyond its border.
        lambda_hidden: Weight of the mean square of the hidden channels in the loss, at least 0.
        ignore_index: Label of cells that count neither in the loss nor in a metric; None if all
            do.
        **kwargs: Further arguments of :class:`ncalab.core.AbstractNCAModel`.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If an argument is out of its range.

    >>> model = SegmentationNCAModel(torch.device("cpu"), num_image_channels=1, num_classes=3)
    >>> model.predict(torch.rand(2, 1, 5, 7), steps=2).mask.shape
    torch.Size([2, 5, 7])
    """

    task = "segmentation"
    fixed_arguments = frozenset({"num_output_channels", "immutable_image_channels"})

    def __init__(
        self,
        device: torch.device,
        num_image_channels: int = 3,
        num_hidden_channels: int = 16,
        num_classes: int = 1,
        fire_rate: float = 0.8,
        hidden_size: int = 128,
        num_learned_filters: int = 2,
        pad_noise: bool = False,
        filter_padding: FilterPadding = "circular",
        lambda_hidden: float = 0.001,
        *,
        ignore_index: int | None = None,
        **kwargs: Any,
    ) -> None:
        check_int("num_classes", num_classes, minimum=1)
        check_non_negative("lambda_hidden", lambda_hidden)
        check_optional_integer("ignore_index", ignore_index)
        kwargs.setdefault("validation_metric", "dice")
        super().__init__(
            device,
            num_image_channels,
            num_hidden_channels,
            num_output_channels=num_classes,
            fire_rate=fire_rate,
            hidden_size=hidden_size,
            immutable_image_channels=True,
            num_learned_filters=num_learned_filters,
            filter_padding=filter_padding,
            pad_noise=pad_noise,
            **kwargs,
        )
        self.num_classes = num_classes
        self.lambda_hidden = lambda_hidden
        self.ignore_index = ignore_index
        self.dice_loss = DiceLoss(ignore_index=ignore_index)
        # One look at the labels of a batch is enough.
        self.bce_loss = PixelCrossEntropy(ignore_index=ignore_index, validate_args=False)
        self._define_metrics()

    def _define_metrics(self) -> None:
        """Create Dice and IoU: of the foreground, or the mean and those of each class."""
        # Imported here, because torchmetrics imports matplotlib where that is installed.
        from ncalab.tasks.segmentation.metrics import Average, Overlap, OverlapKind

        def overlap(kind: OverlapKind, average: Average) -> Overlap:
            classes, ignored = max(2, self.num_classes), self.ignore_index
            return Overlap(classes, kind, average, ignore_index=ignored).to(self.device)

        binary = self.num_classes == 1
        self.metrics["dice"] = overlap("dice", "foreground" if binary else "mean")
        self.metrics["iou"] = overlap("iou", "foreground" if binary else "mean")
        if not binary:
            self.metrics["dice_class"] = overlap("dice", "none")
            self.metrics["iou_class"] = overlap("iou", "none")

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Compare logits with labels.

        Args:
            pred: Prediction.
            label: Classes, shape ``(B, W, H)`` or ``(B, 1, W, H)``: integers in [0, num_classes);
                for a binary segmentation 0 and 1, in any dtype, or probabilities in between.

        Returns:
            "dice" (one minus the Dice score), "bce" (binary cross-entropy; "ce", that of a
            softmax, for more than one class), "hidden" (mean square of the hidden channels) and
            "total" = dice + bce + lambda_hidden * hidden, scalars.

        Raises:
            TypeError: If classes are not integers.
            ValueError: If the shape is another, or a label is out of range.
        """
        target = self._check_label(pred, label)
        dice, entropy = self.dice_loss(pred.logits, target), self.bce_loss(pred.logits, target)
        terms = {"dice": dice, "bce" if self.num_classes == 1 else "ce": entropy}
        return add_hidden_penalty({"total": dice + entropy, **terms}, pred, self.lambda_hidden)

    def _check_label(self, pred: Prediction, label: Tensor) -> Tensor:
        """Return the labels as ``(B, W, H)``."""
        batch, _, *grid = pred.logits.shape
        if tuple(label.shape) not in ((batch, *grid), (batch, 1, *grid)):
            raise ValueError(
                f"label must have shape (B, W, H) = {(batch, *grid)} or (B, 1, W, H) = "
                f"{(batch, 1, *grid)}, got {tuple(label.shape)}"
            )
        return label.reshape(batch, *grid)

    def _update_metrics(self, prediction: Prediction, label: Tensor) -> None:
        target = self._check_label(prediction, label)
        check_range("label", target, max(1, self.num_classes - 1), self.ignore_index)
        if target.is_floating_point():
            target = target.round()  # of probabilities; a label to ignore stays what it is
        mask = mask_of(prediction.logits)
        for metric in self.named_metrics().values():
            metric.update(mask, target.long())

    def read_out(self, state: Tensor, step: int) -> SegmentationPrediction:
        """Read a prediction that has a ``mask``, shape ``(B, W, H)``, int64, out of states.

        Args:
            state: States, shape ``(B, C, W, H)``.
            step: Number of steps that were taken.
        """
        p = super().read_out(state, step)
        return SegmentationPrediction(p.model, p.steps, p.output_image, p.logits, p.head_prediction)

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return the probabilities of the classes.

        Args:
            prediction: Prediction of this model.

        Returns:
            Probabilities, shape ``(B, num_classes, W, H)``; of the foreground if binary.
        """
        logits = prediction.logits
        return logits.sigmoid() if self.num_classes == 1 else logits.softmax(dim=1)

    def export_outputs(self, prediction: Prediction) -> dict[str, Tensor]:
        """Return what an exported model adds to logits and state.

        Args:
            prediction: Prediction of this model.

        Returns:
            "probabilities" as of :meth:`interpret`, and "mask", shape ``(B, W, H)``, int64.
        """
        return {"probabilities": self.interpret(prediction), "mask": mask_of(prediction.logits)}
