"""Classification of images, scikit-learn's way."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import Tags, compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from ncalab.estimators.base import NCAEstimator
from ncalab.tasks import ClassificationNCAModel


class NCAClassifier(ClassifierMixin, NCAEstimator):  # type: ignore[misc]  # untyped base
    """Classify images with a neural cellular automaton, as a scikit-learn classifier.

    It wraps :class:`ncalab.tasks.ClassificationNCAModel` with a head, and
    :class:`ncalab.train.BasicNCATrainer`. It goes where classifiers go: pipelines,
    ``cross_val_score``, ``GridSearchCV``. For augmentation, checkpoints or figures, use these
    two directly.

    Samples are arrays with the channels last, ``(N, W, H)`` or ``(N, W, H, C)``, or rows of
    pixels ``(N, features)``. After ``fit`` on images with axes of their own, those that are
    predicted may have another size.

    Args:
        image_shape: (W, H) or (W, H, C) of samples that are rows. None: a square image if the
            number of features is a square, otherwise a line of cells.
        num_hidden_channels: Number of hidden channels.
        hidden_size: Number of hidden neurons of the rule.
        num_learned_filters: Number of learned perception filters; 0 for Sobel filters.
        steps: Number of steps, in training and prediction.
        fire_rate: Probability that a cell is updated at a step, in [0, 1].
        epochs: Number of passes through the training images.
        batch_size: Number of images per optimiser step.
        learning_rate: Learning rate of Adam at the start; a tenth of it at the end.
        class_weight: Weight of each class in the loss: a dictionary by class, "balanced" for
            weights inverse to its frequency, or None for 1.
        standardize: Whether every channel is shifted and scaled to mean 0 and variance 1, as
            measured in ``fit``.
        early_stopping: Whether to hold out validation images, to stop when their accuracy no
            longer improves, and to keep the best weights.
        validation_fraction: Share of the images that is held out.
        n_iter_no_change: Number of epochs without improvement after which to stop.
        random_state: Seed or ``RandomState`` of weights, order, split and firing cells. The same
            one gives the same predictions to the bit on the CPU.
        device: "cpu", "cuda", "cuda:<index>", "mps" or "auto".
        verbose: Whether to show progress.

    Attributes:
        classes_: The classes, sorted, shape ``(K,)``.
        model_: The trained :class:`ncalab.tasks.ClassificationNCAModel`: ``save_pretrained`` it,
            animate it. It wants ``(image - mean_) / scale_``.
        mean_: Mean of each channel, shape ``(1, C, 1, 1)``, float32; 0 unless ``standardize``.
        scale_: Its standard deviation, likewise; 1 unless ``standardize``.
        n_iter_: Number of epochs that were trained.
        n_channels_: Number of channels C.
        n_features_in_: Length of the second axis of the samples.

    >>> import numpy as np
    >>> images = np.zeros((20, 6, 6))
    >>> images[10:, 2:4, 2:4] = 1
    >>> labels = ["empty"] * 10 + ["square"] * 10
    >>> classifier = NCAClassifier(steps=3, epochs=10, batch_size=4, random_state=0)
    >>> print(classifier.fit(images, labels).predict(images[8:12]).tolist())
    ['empty', 'empty', 'square', 'square']
    """

    def __init__(
        self,
        image_shape: Sequence[int] | None = None,
        *,
        num_hidden_channels: int = 16,
        hidden_size: int = 64,
        num_learned_filters: int = 2,
        steps: int = 8,
        fire_rate: float = 0.8,
        epochs: int = 30,
        batch_size: int = 32,
        learning_rate: float = 4e-3,
        class_weight: Mapping[Any, float] | Literal["balanced"] | None = None,
        standardize: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        random_state: Any = None,
        device: str = "cpu",
        verbose: int = 0,
    ) -> None:
        self.image_shape = image_shape
        self.num_hidden_channels = num_hidden_channels
        self.hidden_size = hidden_size
        self.num_learned_filters = num_learned_filters
        self.steps = steps
        self.fire_rate = fire_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.class_weight = class_weight
        self.standardize = standardize
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _build(self, channels: int, size: tuple[int, int]) -> ClassificationNCAModel:
        return ClassificationNCAModel(
            self._device(),
            channels,
            self.num_hidden_channels,
            len(self.classes_),
            fire_rate=self.fire_rate,
            hidden_size=self.hidden_size,
            num_learned_filters=self.num_learned_filters,
            # Reflection needs a second cell; a row of features may be one cell wide.
            filter_padding="zero",
            avg_pool_size=min(8, max(size)),
            class_weights=self._loss_weights,
            class_names=[str(name) for name in self.classes_],
            training_timesteps=self.steps,
            inference_timesteps=self.steps,
        )

    def _weigh(self, labels: NDArray[np.int64]) -> list[float] | None:
        """Return the weight of each class in the loss."""
        if self.class_weight is None:
            return None
        y = self.classes_[labels]
        weights = compute_class_weight(self.class_weight, classes=self.classes_, y=y)
        return [float(weight) for weight in weights]

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 - scikit-learn's name
        """Train a new model.

        Args:
            X: Images, shape ``(N, W, H)``, ``(N, W, H, C)`` or ``(N, features)``, finite numbers.
            y: Class of each, shape ``(N,)``: integers or strings.

        Returns:
            The estimator itself.

        Raises:
            ValueError: If the shapes do not fit, a value is not finite, or there are fewer than
                two classes.
        """
        self._check_parameters()
        images, y = self._pairs(X, y)
        labels = self._encode(y)
        self._loss_weights = self._weigh(labels)
        self._fit(images, labels, stratify=labels)
        return self

    def _encode(self, y: NDArray[Any]) -> NDArray[np.int64]:
        """Remember the classes and number the labels."""
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must have at least two classes, got 1 class: {self.classes_}")
        return labels.astype(np.int64)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Return the probability of each class, shape ``(N, K)``, float64."""
        check_is_fitted(self)
        batches = [
            self.model_.class_probabilities(prediction).cpu().numpy()
            for prediction in self._predictions(X)
        ]
        probabilities: NDArray[np.float64] = np.concatenate(batches).astype(np.float64)
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        return probabilities

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the most probable class of each image, shape ``(N,)``."""
        chosen = self.predict_proba(X).argmax(axis=1)
        classes: NDArray[Any] = self.classes_[chosen]
        return classes

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags
