"""The model that classifies images, as a whole or by the votes of their cells."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.checks import (
    check_choice,
    check_flag,
    check_int,
    check_non_negative,
    check_number,
)
from ncalab.core.perception import FilterPadding
from ncalab.tasks.classification.head import ClassificationNCAHead
from ncalab.tasks.classification.targets import (
    NO_CLASS,
    LossType,
    check_labels,
    errors,
    on_every_cell,
)
from ncalab.tasks.classification.votes import count_votes, living_cells, mean_over_cells
from ncalab.tasks.hidden import add_hidden_penalty
from ncalab.tasks.losses import FocalLoss


def _check_class_names(names: Sequence[str] | None, num_classes: int) -> list[str] | None:
    if names is None:
        return None
    is_list = isinstance(names, Sequence) and not isinstance(names, str | bytes)
    if not is_list or not all(isinstance(name, str) for name in names):
        raise TypeError(f"class_names must be a list of strings, got {names!r:.80}")
    if len(names) != num_classes:
        raise ValueError(f"class_names must be {num_classes} names, got {len(names)}")
    return list(names)


def _check_class_weights(weights: Sequence[float] | None, num_classes: int) -> list[float] | None:
    if weights is None:
        return None
    if not isinstance(weights, Sequence | np.ndarray | Tensor) or isinstance(weights, str | bytes):
        raise TypeError(f"class_weights must be a list of numbers, got {weights!r:.80}")
    listed = weights.tolist() if isinstance(weights, np.ndarray | Tensor) else weights
    values = [check_number("class_weights", weight) for weight in listed]
    if len(values) != num_classes:
        raise ValueError(f"class_weights must be {num_classes} numbers, got {len(values)}")
    if not all(0 < value < math.inf for value in values):
        raise ValueError(f"class_weights must be above 0 and finite, got {values}")
    return values


class ClassificationNCAModel(AbstractNCAModel):
    """Classify images in one of three ways.

    - By a head (the default): the hidden channels are pooled and a perceptron classifies them.
    - By pooled output channels (``use_classifier=False``): there is one output channel a class,
      and its mean over all cells is the class's logit.
    - By self-classification (``pixel_wise_loss=True``): every living cell has a logit for each
      class in its output channels, and is trained to name the class of the image that it is a
      part of. The cells of an image vote. :func:`living_cells` says which cells count; an RGB
      image with a mask is an image of four channels.

    Source: Randazzo et al., Self-classifying MNIST Digits, Distill 2020,
    doi:10.23915/distill.00027.002. Deviation: dead cells have no say, but they take part in the
    communication, unless ``use_alive_mask`` keeps them empty.

    Args:
        device: Where parameters are created.
        num_image_channels: Number of image channels.
        num_hidden_channels: Number of hidden channels, at least 1 with a head.
        num_classes: Number of classes K, at least 2.
        fire_rate: Probability that a cell is updated at a step, in [0, 1].
        hidden_size: Number of hidden neurons of the rule.
        use_alive_mask: Whether cells without a neighbour of opacity above 0.1 are empty; needs
            4 image channels.
        pixel_wise_loss: Whether the cells classify themselves. There is no head then, whatever
            ``use_classifier`` says.
        num_learned_filters: Number of learned perception filters; 0 for Sobel filters.
        filter_padding: How the grid continues beyond its border for every filter.
        use_laplace: Whether to add a Laplace filter to the Sobel filters.
        kernel_size: Size of learned filters, odd.
        pad_noise: Whether hidden and output channels start as noise instead of zeros.
        use_temporal_encoding: Whether cells perceive the step.
        use_classifier: Whether a head classifies, rather than pooled output channels.
        class_names: Names of the classes, in the order of their indices.
        avg_pool_size: Side of the grid that the head pools to.
        lambda_hidden: Weight of the mean square of the hidden channels in the loss, at least 0.
        class_weights: Weight of each class in the loss, K numbers above 0; None for 1 each. As in
            torch, the mean over a batch is a weighted mean (but not that of the focal loss).
        loss_type: "cross_entropy", "focal", or "mse": half the squared distance between logits
            and the one-hot vector of the label, with which states last longer (Randazzo et al.).
        focal_gamma: Focus of the focal loss on what is classified badly, at least 0.
        head_hidden_size: Number of hidden neurons of the head.
        **kwargs: Further arguments of :class:`ncalab.core.AbstractNCAModel`.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If an argument is out of its range, or does not go with another one.

    >>> model = ClassificationNCAModel(torch.device("cpu"), 1, 6, num_classes=10)
    >>> model.classify(torch.rand(4, 1, 28, 28), steps=2).sum(dim=1).round().tolist()
    [1.0, 1.0, 1.0, 1.0]
    """

    task = "classification"
    fixed_arguments = frozenset({"num_output_channels"})

    def __init__(
        self,
        device: torch.device,
        num_image_channels: int,
        num_hidden_channels: int,
        num_classes: int,
        fire_rate: float = 0.8,
        hidden_size: int = 128,
        use_alive_mask: bool = False,
        pixel_wise_loss: bool = False,
        num_learned_filters: int = 2,
        filter_padding: FilterPadding = "reflect",
        use_laplace: bool = False,
        kernel_size: int = 3,
        pad_noise: bool = False,
        use_temporal_encoding: bool = False,
        use_classifier: bool = True,
        class_names: list[str] | None = None,
        avg_pool_size: int = 8,
        lambda_hidden: float = 0,
        *,
        class_weights: Sequence[float] | None = None,
        loss_type: LossType = "cross_entropy",
        focal_gamma: float = 2.0,
        head_hidden_size: int = 32,
        **kwargs: Any,
    ) -> None:
        # Imported here, because torchmetrics imports matplotlib where that is installed.
        from ncalab.tasks.classification.metrics import make_metrics

        self._num_classes = check_int("num_classes", num_classes, minimum=2)
        check_non_negative("lambda_hidden", lambda_hidden)
        check_choice("loss_type", loss_type, ("cross_entropy", "focal", "mse"))
        check_int("avg_pool_size", avg_pool_size, minimum=1)
        check_int("head_hidden_size", head_hidden_size, minimum=1)
        check_non_negative("focal_gamma", focal_gamma)
        self.pixel_wise_loss = check_flag("pixel_wise_loss", pixel_wise_loss)
        self.use_classifier = check_flag("use_classifier", use_classifier)
        has_head = use_classifier and not pixel_wise_loss
        kwargs.setdefault("validation_metric", "accuracy_micro")
        super().__init__(
            device,
            num_image_channels,
            num_hidden_channels,
            num_output_channels=0 if has_head else num_classes,
            fire_rate=fire_rate,
            hidden_size=hidden_size,
            use_alive_mask=use_alive_mask,
            num_learned_filters=num_learned_filters,
            filter_padding=filter_padding,
            use_laplace=use_laplace,
            kernel_size=kernel_size,
            pad_noise=pad_noise,
            use_temporal_encoding=use_temporal_encoding,
            **kwargs,
        )
        self.class_names = _check_class_names(class_names, num_classes)
        self.avg_pool_size = avg_pool_size
        self.lambda_hidden = lambda_hidden
        self.class_weights = _check_class_weights(class_weights, num_classes)
        self.loss_type: LossType = loss_type
        self.focal_gamma = focal_gamma
        self.head_hidden_size = head_hidden_size
        self._define_losses()
        if has_head:
            sizes = (avg_pool_size, head_hidden_size)
            self.head = ClassificationNCAHead(
                num_hidden_channels, num_classes, device, *sizes, spatial_dims=self.spatial_dims
            )
        self.metrics = make_metrics(num_classes, pixel_wise=pixel_wise_loss)
        self.to(device)

    def _define_losses(self) -> None:
        """Create the focal loss, and the weights that follow ``.to()``."""
        # Configuration, so neither is part of a weights file.
        weights = None if self.class_weights is None else torch.tensor(self.class_weights)
        self.register_buffer("_class_weights", weights, persistent=False)
        self.focal_loss = FocalLoss(weights, self.focal_gamma, ignore_index=NO_CLASS)
        self.focal_loss.register_buffer("weight", weights, persistent=False)

    @property
    def num_classes(self) -> int:
        """Number of classes K."""
        return self._num_classes

    def post_prediction(self, prediction: Prediction) -> Prediction:
        """Pool the logits of the cells, if the model classifies by pooled output channels.

        Args:
            prediction: Prediction as read from the state.

        Returns:
            Prediction whose logits are ``(B, K)``, or ``(B, K, W, H)`` with ``pixel_wise_loss``.
        """
        if self.pixel_wise_loss or prediction.logits.ndim == 2:
            return prediction
        state, logits = prediction.output_image, self._pooled(prediction)
        head = prediction.head_prediction
        return type(prediction)(prediction.model, prediction.steps, state, logits, head)

    def _pooled(self, prediction: Prediction) -> Tensor:
        """Return logits for whole images, ``(B, K)``."""
        logits = prediction.logits
        return logits if logits.ndim == 2 else logits.mean(dim=tuple(range(2, logits.ndim)))

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return the probability of each class.

        Args:
            prediction: Prediction of this model.

        Returns:
            Probabilities, shape ``(B, K)``; with ``pixel_wise_loss``, those of every cell,
            ``(B, K, W, H)``.
        """
        logits = prediction.logits if self.pixel_wise_loss else self._pooled(prediction)
        return logits.softmax(dim=1)

    def class_probabilities(self, prediction: Prediction, *, mask: Tensor | None = None) -> Tensor:
        """Return the probability of each class for whole images.

        Args:
            prediction: Prediction of this model.
            mask: Cells that count with ``pixel_wise_loss``, see :func:`living_cells`.

        Returns:
            Probabilities, shape ``(B, K)``: with ``pixel_wise_loss``, the mean of those of the
            living cells.

        Raises:
            ValueError: If a mask is given without ``pixel_wise_loss``, or has another shape.
        """
        living = self._living(prediction, mask)
        probabilities = self.interpret(prediction)
        return probabilities if living is None else mean_over_cells(probabilities, living)

    def export_outputs(self, prediction: Prediction) -> dict[str, Tensor]:
        """Return what an exported model adds to logits and state.

        Args:
            prediction: Prediction of this model.

        Returns:
            "probabilities", shape ``(B, K)``, and "class", the most probable one, shape ``(B,)``,
            int64.
        """
        probabilities = self.class_probabilities(prediction)
        return {"probabilities": probabilities, "class": probabilities.argmax(dim=1)}

    def _living(self, prediction: Prediction, mask: Tensor | None) -> Tensor | None:
        """Return the cells that count, None if the model does not classify cell by cell."""
        if self.pixel_wise_loss:
            return living_cells(prediction.image_channels, mask)
        if mask is not None:
            raise ValueError("mask must be None without pixel_wise_loss, got a tensor")
        return None

    def classify(
        self,
        image: Tensor,
        steps: int | tuple[int, int] | None = None,
        reduce: bool = False,
        *,
        mask: Tensor | None = None,
        seed: int | None = None,
        goal: Tensor | None = None,
    ) -> Tensor:
        """Classify images.

        Args:
            image: Images, shape ``(B, image channels, W, H)``, floating point.
            steps: Number of steps, or a range to draw it from; ``inference_timesteps`` if None.
            reduce: Whether to return the most probable class instead of probabilities.
            mask: Cells that count with ``pixel_wise_loss``, see :func:`living_cells`.
            seed: Seed of whatever is random; drawn if None.
            goal: Goal of each image, for a model with ``goal_size``; see :meth:`forward`.

        Returns:
            Probabilities as :meth:`class_probabilities` has them, shape ``(B, K)``; with
            ``reduce``, class indices, shape ``(B,)``, int64.
        """
        prediction = self.predict(image, steps, seed=seed, goal=goal)
        probabilities = self.class_probabilities(prediction, mask=mask)
        return probabilities.argmax(dim=1) if reduce else probabilities

    def loss(
        self, pred: Prediction, label: Tensor, *, mask: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compare a prediction with the classes of its images.

        Args:
            pred: Prediction.
            label: Class indices, integers, shape ``(B,)`` or ``(B, 1)``.
            mask: Cells that count with ``pixel_wise_loss``, see :func:`living_cells`.

        Returns:
            "classification", "hidden" (mean square of the hidden channels, if it counts) and
            "total" = classification + lambda_hidden * hidden, scalars. Cell by cell, the error of
            an image is the mean over its living cells, so that large images count as much as
            small ones (the focal loss is the mean over all living cells of the batch).

        Raises:
            TypeError: If the labels are not integers.
            ValueError: If they have another shape or are out of range, or the mask does not fit.
        """
        label = check_labels(label, pred.output_image.shape[0], self.num_classes)
        classification = self._classification_loss(pred, label, self._living(pred, mask))
        losses = {"total": classification, "classification": classification}
        return add_hidden_penalty(losses, pred, self.lambda_hidden)

    def _classification_loss(
        self, pred: Prediction, label: Tensor, living: Tensor | None
    ) -> Tensor:
        logits = self._pooled(pred) if living is None else pred.logits
        target = label if living is None else on_every_cell(label, living)
        if self.loss_type == "focal":
            focal: Tensor = self.focal_loss(logits, target)
            return focal
        each = errors(logits, target, self.loss_type)
        if living is not None:
            each = mean_over_cells(each[:, None], living)[:, 0]
        if self.class_weights is None:
            return each.mean()
        weights = self.get_buffer("_class_weights")[label]
        return (weights * each).sum() / weights.sum()

    def _update_metrics(self, prediction: Prediction, label: Tensor) -> None:
        """Feed probabilities to the AUROC, votes to the agreement, classes to the others."""
        label = check_labels(label, prediction.output_image.shape[0], self.num_classes)
        probabilities = self.class_probabilities(prediction)
        decided = ballots = probabilities
        if self.pixel_wise_loss:
            living = living_cells(prediction.image_channels)
            decided = ballots = count_votes(prediction.logits, living)
        inputs = {"auroc": probabilities, "total_agreement": ballots}
        for name, metric in self.named_metrics().items():
            metric.update(inputs.get(name, decided.argmax(dim=1)), label)
