"""The estimator that gives every cell of an image a class."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import f1_score
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_consistent_length
from torch import Tensor

from ncalab.core.checks import check_int
from ncalab.core.intensities import Normalization
from ncalab.core.perception import FilterPadding
from ncalab.estimators.base import NCAEstimator
from ncalab.estimators.images import ImageShape, number_of_axes
from ncalab.tasks import SegmentationNCAModel
from ncalab.tasks.recommend import Recommendation, describe_patches
from ncalab.train import Recipe
from ncalab.train.recipe import RecipeName


class NCASegmenter(NCAEstimator):
    """Segment images with a neural cellular automaton, as a scikit-learn estimator.

    Images are arrays ``(N, W, H)`` or, channels last, ``(N, W, H, C)``; labels are ``(N, W, H)``.
    Flat images, ``(N, features)``, are reshaped to ``image_shape``, and their labels may be flat,
    too, ``(N, W * H)``. Without an ``image_shape``, each sample is a single cell with a channel
    per feature, and labels are ``(N,)``.

    With two classes, the second one of ``classes_`` is the foreground.

    The same ``random_state`` gives the same model and the same predictions, to the bit on one
    machine with one number of threads. What is predicted for an image does not depend on the
    others: all draw the same fire masks.

    Args:
        image_shape: ``(W, H)`` or ``(W, H, C)`` of flat images.
        num_hidden_channels: Number of hidden channels of a cell.
        hidden_size: Number of hidden neurons of the rule.
        scales: Sizes of a cell in pixels, from coarse to fine, each with weights of its own; "auto"
            chooses them for the size of the training images.
        steps: Number of steps of a rollout, over all scales; or a range (min, max) without max that
            trainings draw it from, and predictions take the largest of; or "auto" for what goes
            with the scales. A cell sees one more ring of neighbours with every step.
        fire_rate: Probability that a cell is updated at a step, in [0, 1].
        num_learned_filters: Number of learned perception filters; 0 for Sobel filters.
        kernel_size: Size of learned filters, odd.
        filter_padding: How the grid continues beyond its border: "zero", "reflect", "replicate" or
            "circular".
        patch_size: Side of the patches to train on, half of them around a pixel of a class that is
            not the most common one; None for whole images; "auto" for what suits their size.
        epochs: Number of epochs, at most; not with ``max_minutes``.
        max_minutes: How long to train, instead of ``epochs``.
        recipe: How to train: "recommended", "documented" for the defaults of
            :class:`ncalab.train.BasicNCATrainer`, or a :class:`ncalab.train.Recipe`.
        batch_size: Number of images of an optimiser step, and of a batch of predictions.
        learning_rate: Initial learning rate of the recipe's optimiser; None for the recipe's.
        early_stopping: Whether to hold out a part of the images, stop when the Dice score on them
            no longer improves, and keep the best weights.
        validation_fraction: Share to hold out, in (0, 1).
        n_iter_no_change: Number of epochs without improvement to stop after.
        standardize: Whether to subtract the mean of each channel and divide by its deviation,
            both over all training images.
        normalize: What is done to each image before, by its own statistics: "none", "range",
            "percentile" or "standardize"; see :func:`ncalab.core.intensities.normalized`.
        warm_start: Whether another ``fit`` continues from the weights of the one before, with a new
            optimiser, instead of starting anew.
        model_params: Further arguments of :class:`ncalab.tasks.SegmentationNCAModel`.
        random_state: Seed or generator of all that is random.
        device: "cpu", "cuda", "cuda:<index>", "mps" or "auto".
        verbose: Whether to show a progress bar.

    Attributes:
        model_: The fitted :class:`ncalab.tasks.SegmentationNCAModel`, in a
            :class:`ncalab.tasks.CascadeNCA` if there are several scales. It takes what
            :meth:`as_tensor` returns, and knows of it as ``model_.preparation``.
        classes_: The classes, sorted, shape ``(K,)``.
        n_features_in_: Number of values of an image.
        image_shape_: ``(W, H, C)`` of the training images. Others may have another W and H.
        mean_: What is subtracted from each channel, shape ``(C,)``.
        scale_: What it is divided by, shape ``(C,)``.
        recommendation_: What was chosen for the images and why, as of
            :func:`ncalab.tasks.recommended_model`; it is logged, too.
        n_iter_: Number of epochs that the last ``fit`` took.
        loss_curve_: Mean loss of each of them.
        validation_scores_: Dice score on what was held out after each; None without.
        seed_: Seed of the fire masks of predictions.

    >>> rng = np.random.default_rng(0)
    >>> images = rng.random((16, 12, 10))
    >>> masks = images > 0.6
    >>> segmenter = NCASegmenter(steps=3, epochs=20, random_state=0)
    >>> segmenter.fit(images[:12], masks[:12]).score(images[12:], masks[12:]) > 0.9
    True
    """

    _model_class = SegmentationNCAModel

    def __init__(
        self,
        image_shape: tuple[int, ...] | None = None,
        *,
        num_hidden_channels: int = 16,
        hidden_size: int = 64,
        scales: Sequence[int] | Literal["auto"] = "auto",
        steps: int | tuple[int, int] | Literal["auto"] = "auto",
        fire_rate: float = 0.8,
        num_learned_filters: int = 2,
        kernel_size: int = 3,
        filter_padding: FilterPadding = "reflect",
        patch_size: int | Literal["auto"] | None = "auto",
        epochs: int = 50,
        max_minutes: float | None = None,
        recipe: RecipeName | Recipe = "recommended",
        batch_size: int = 8,
        learning_rate: float | None = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        standardize: bool = True,
        normalize: Normalization = "none",
        warm_start: bool = False,
        model_params: dict[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: str = "cpu",
        verbose: bool | int = False,
    ) -> None:
        self.image_shape = image_shape
        self.num_hidden_channels = num_hidden_channels
        self.hidden_size = hidden_size
        self.scales = scales
        self.steps = steps
        self.fire_rate = fire_rate
        self.num_learned_filters = num_learned_filters
        self.kernel_size = kernel_size
        self.filter_padding = filter_padding
        self.patch_size = patch_size
        self.epochs = epochs
        self.max_minutes = max_minutes
        self.recipe = recipe
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.standardize = standardize
        self.normalize = normalize
        self.warm_start = warm_start
        self.model_params = model_params
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _check_labels(self, y: Any, images: NDArray[Any]) -> NDArray[Any]:
        labels = np.asarray(y)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels.reshape(-1))
        return _as_masks(labels, images.shape[:3])

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if not (self.patch_size is None or self.patch_size == "auto"):
            check_int("patch_size", self.patch_size, minimum=1)

    def _patch_size(self, recommended: Recommendation) -> int | None:
        return recommended.patch_size if self.patch_size == "auto" else self.patch_size

    def _hints(self, recommended: Recommendation, used: Recommendation) -> tuple[str, ...]:  # noqa: ARG002 - as in the base class
        size = recommended.patch_size
        return () if size is None or self.patch_size != "auto" else (describe_patches(size),)

    def _task_arguments(
        self,
        shape: ImageShape,  # noqa: ARG002 - a classifier pools to it
        classes: NDArray[Any],
        labels: NDArray[Any],  # noqa: ARG002 - a classifier weighs its classes by them
    ) -> dict[str, Any]:
        return {"num_classes": 1 if len(classes) == 2 else len(classes)}

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803 - scikit-learn's name
        """Return the most probable class of each cell.

        Args:
            X: Images ``(N, W, H)`` or ``(N, W, H, C)`` of any size, or flat ones
                ``(N, features)`` of the size of the training images.

        Returns:
            Classes, shape ``(N, W, H)``; for flat images ``(N, W * H)``, or ``(N,)`` if they are
            single cells.

        Raises:
            NotFittedError: If the estimator is not fitted.
            ValueError: If images have another number of channels or features than in ``fit``.
        """
        best = self.predict_proba(X).argmax(axis=-1)
        predicted: NDArray[Any] = self.classes_[best]
        return predicted

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803 - scikit-learn's name
        """Return the probability of each class in each cell.

        Args:
            X: As in :meth:`predict`.

        Returns:
            Probabilities in the order of ``classes_``, shape ``(N, W, H, K)``; for flat images
            ``(N, W * H, K)``, or ``(N, K)`` if they are single cells.
        """
        batches = [_probabilities(logits) for logits in self._logits(X)]
        probabilities = np.concatenate(batches).transpose(0, 2, 3, 1)
        if number_of_axes(X) > 2:
            return probabilities
        count, width, height, classes = probabilities.shape
        cells = () if width == height == 1 else (width * height,)
        return probabilities.reshape(count, *cells, classes)

    def score(self, X: Any, y: Any) -> float:  # noqa: N803 - scikit-learn's name
        """Return the Dice score over all cells of all images.

        Args:
            X: As in :meth:`predict`.
            y: Labels, as in :meth:`fit`.

        Returns:
            Dice score in [0, 1]: of the foreground if there are two classes, otherwise the mean
            over all classes that are labelled or predicted somewhere.

        Raises:
            ValueError: If labels have another shape than images.
        """
        predicted = self.predict(X)
        shape = predicted.shape if predicted.ndim == 3 else (len(predicted), *self.image_shape_[:2])
        labels = _as_masks(np.asarray(y), shape).reshape(-1)
        predicted = predicted.reshape(-1)
        if len(self.classes_) == 2:
            foreground = [self.classes_[1]]
            return float(
                f1_score(labels, predicted, labels=foreground, average="macro", zero_division=1.0)
            )
        # The F1 score of cells is their Dice score.
        return float(f1_score(labels, predicted, average="macro", zero_division=1.0))


def _as_masks(labels: NDArray[Any], shape: tuple[int, ...]) -> NDArray[Any]:
    """Return labels in the shape ``(N, W, H)``.

    Raises:
        ValueError: If they have another one; it is never guessed.
    """
    count, width, height = shape
    flat = {(count, width * height), (count, width, height, 1)}
    if width == height == 1:
        flat.add((count,))
    check_consistent_length(labels, range(count))
    if labels.shape != (count, width, height) and labels.shape not in flat:
        raise ValueError(
            f"y must have shape (N, W, H) = {(count, width, height)} or (N, W * H), "
            f"got {labels.shape}"
        )
    return labels.reshape(count, width, height)


def _probabilities(logits: Tensor) -> NDArray[np.float64]:
    """Return the probabilities of logits ``(B, K, W, H)``, of two classes for a single logit."""
    if logits.shape[1] > 1:
        values = logits.softmax(dim=1).cpu().numpy()
    else:
        foreground = logits.sigmoid().cpu().numpy()
        values = np.concatenate([1 - foreground, foreground], axis=1)
    return np.asarray(values)
