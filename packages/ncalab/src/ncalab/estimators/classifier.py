"""The estimator that classifies images."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, column_or_1d

from ncalab.core.checks import check_int
from ncalab.core.intensities import Normalization
from ncalab.core.perception import FilterPadding
from ncalab.estimators.base import NCAEstimator
from ncalab.estimators.images import ImageShape
from ncalab.tasks import ClassificationNCAModel
from ncalab.tasks.recommend import Recommendation
from ncalab.train import Recipe
from ncalab.train.recipe import RecipeName


class NCAClassifier(ClassifierMixin, NCAEstimator):  # type: ignore[misc]  # no types
    """Classify images with a neural cellular automaton, as a scikit-learn estimator.

    Images are arrays ``(N, W, H)`` or, channels last, ``(N, W, H, C)``. Flat ones,
    ``(N, features)``, are reshaped to ``image_shape``; without one, each sample is a single cell
    with a channel per feature, as for a table, whose columns have no neighbours.

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
            with the scales.
        fire_rate: Probability that a cell is updated at a step, in [0, 1].
        num_learned_filters: Number of learned perception filters; 0 for Sobel filters.
        kernel_size: Size of learned filters, odd.
        filter_padding: How the grid continues beyond its border: "zero", "reflect", "replicate" or
            "circular".
        avg_pool_size: Side of the grid that the final state is pooled to, at most a side of the
            image.
        class_weight: Weight of each class in the loss: a dict by class, "balanced", or None for 1.
        epochs: Number of epochs, at most; not with ``max_minutes``.
        max_minutes: How long to train, instead of ``epochs``.
        recipe: How to train: "recommended", "documented" for the defaults of
            :class:`ncalab.train.BasicNCATrainer`, or a :class:`ncalab.train.Recipe`.
        batch_size: Number of images of an optimiser step, and of a batch of predictions.
        learning_rate: Initial learning rate of the recipe's optimiser; None for the recipe's.
        early_stopping: Whether to hold out a part of the data, stop when the accuracy on it no
            longer improves, and keep the best weights.
        validation_fraction: Share to hold out, in (0, 1).
        n_iter_no_change: Number of epochs without improvement to stop after.
        standardize: Whether to subtract the mean of each channel and divide by its deviation,
            both over all training images.
        normalize: What is done to each image before, by its own statistics: "none", "range",
            "percentile" or "standardize"; see :func:`ncalab.core.intensities.normalized`.
        warm_start: Whether another ``fit`` continues from the weights of the one before, with a new
            optimiser, instead of starting anew.
        model_params: Further arguments of :class:`ncalab.tasks.ClassificationNCAModel`.
        random_state: Seed or generator of all that is random.
        device: "cpu", "cuda", "cuda:<index>", "mps" or "auto".
        verbose: Whether to show a progress bar.

    Attributes:
        model_: The fitted :class:`ncalab.tasks.ClassificationNCAModel`. It takes what
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
        validation_scores_: Accuracy on what was held out after each; None without.
        seed_: Seed of the fire masks of predictions.

    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(n_class=2, return_X_y=True)
    >>> classifier = NCAClassifier(image_shape=(8, 8), steps=4, epochs=4, random_state=0)
    >>> classifier.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.9
    True
    """

    _model_class = ClassificationNCAModel

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
        avg_pool_size: int = 4,
        class_weight: dict[Any, float] | Literal["balanced"] | None = None,
        epochs: int = 20,
        max_minutes: float | None = None,
        recipe: RecipeName | Recipe = "recommended",
        batch_size: int = 32,
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
        self.avg_pool_size = avg_pool_size
        self.class_weight = class_weight
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

    def _check_labels(self, y: Any, images: NDArray[Any]) -> NDArray[Any]:  # noqa: ARG002 - a segmenter compares shapes
        labels: NDArray[Any] = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_classification_targets(labels)
        return labels

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_int("avg_pool_size", self.avg_pool_size, minimum=1)

    def _class_weights(self, classes: NDArray[Any], labels: NDArray[Any]) -> list[float] | None:
        if self.class_weight is None:
            return None
        weights = compute_class_weight(self.class_weight, classes=classes, y=classes[labels])
        return [float(weight) for weight in weights]

    def _strata(self, labels: NDArray[Any]) -> NDArray[Any]:
        return labels

    def _task_arguments(
        self, shape: ImageShape, classes: NDArray[Any], labels: NDArray[Any]
    ) -> dict[str, Any]:
        return {
            "num_classes": len(classes),
            "avg_pool_size": min(self.avg_pool_size, shape.width, shape.height),
            "class_names": [str(name) for name in classes],
            "class_weights": self._class_weights(classes, labels),
        }

    def _hints(self, recommended: Recommendation, used: Recommendation) -> tuple[str, ...]:
        if "class_weights" not in recommended.model or used.model["class_weights"] is not None:
            return ()
        return ('class_weight may help: "balanced", for classes as uneven as these',)

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803 - scikit-learn's name
        """Return the most probable class of each image.

        Args:
            X: Images ``(N, W, H)`` or ``(N, W, H, C)`` of any size, or flat ones
                ``(N, features)`` of the size of the training images.

        Returns:
            Classes, shape ``(N,)``.

        Raises:
            NotFittedError: If the estimator is not fitted.
            ValueError: If images have another number of channels or features than in ``fit``.
        """
        best = self.predict_proba(X).argmax(axis=1)
        predicted: NDArray[Any] = self.classes_[best]
        return predicted

    def predict_proba(self, X: Any) -> NDArray[np.float64]:  # noqa: N803 - scikit-learn's name
        """Return the probability of each class.

        Args:
            X: As in :meth:`predict`.

        Returns:
            Probabilities, shape ``(N, K)``, in the order of ``classes_``.
        """
        return np.concatenate([logits.softmax(dim=1).cpu().numpy() for logits in self._logits(X)])
