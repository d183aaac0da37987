"""Segmentation of images, scikit-learn's way."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import f1_score
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from ncalab.estimators.base import NCAEstimator
from ncalab.estimators.images import Images, as_images
from ncalab.tasks import SegmentationNCAModel


class NCASegmenter(NCAEstimator):
    """Segment images with a neural cellular automaton, as a scikit-learn estimator.

    It wraps :class:`ncalab.tasks.SegmentationNCAModel` and
    :class:`ncalab.train.BasicNCATrainer`. Images and parameters are those of
    :class:`NCAClassifier`; labels are masks. Cells see only their neighbours, so images of any
    size can be segmented after ``fit``.

    Args:
        image_shape: (W, H) or (W, H, C) of samples that are rows; their masks are rows, too.
        num_hidden_channels: Number of hidden channels.
        hidden_size: Number of hidden neurons of the rule.
        num_learned_filters: Number of learned perception filters; 0 for Sobel filters.
        steps: Number of steps, in training and prediction. After k steps a cell has heard of
            others at most k cells away.
        fire_rate: Probability that a cell is updated at a step, in [0, 1].
        epochs: Number of passes through the training images.
        batch_size: Number of images per optimiser step.
        learning_rate: Learning rate of Adam at the start; a tenth of it at the end.
        standardize: Whether every channel is shifted and scaled to mean 0 and variance 1, as
            measured in ``fit``.
        early_stopping: Whether to hold out validation images, to stop when their Dice score no
            longer improves, and to keep the best weights.
        validation_fraction: Share of the images that is held out.
        n_iter_no_change: Number of epochs without improvement after which to stop.
        random_state: Seed or ``RandomState`` of all that is random.
        device: "cpu", "cuda", "cuda:<index>", "mps" or "auto".
        verbose: Whether to show progress.

    Attributes:
        classes_: The labels, sorted, shape ``(K,)``. The first one is the background.
        model_: The trained :class:`ncalab.tasks.SegmentationNCAModel`. It wants
            ``(image - mean_) / scale_``.
        mean_: Mean of each channel, shape ``(1, C, 1, 1)``, float32; 0 unless ``standardize``.
        scale_: Its standard deviation, likewise; 1 unless ``standardize``.
        n_iter_: Number of epochs that were trained.
        n_channels_: Number of channels C.
        n_features_in_: Length of the second axis of the samples.

    >>> import numpy as np
    >>> images = np.random.default_rng(0).random((12, 8, 8))
    >>> masks = (images > 0.5).astype(int)
    >>> segmenter = NCASegmenter(steps=3, epochs=30, batch_size=4, random_state=0)
    >>> segmenter.fit(images, masks).predict(images).shape
    (12, 8, 8)
    >>> segmenter.score(images, masks) > 0.9
    True
    """

    def __init__(
        self,
        image_shape: Sequence[int] | None = None,
        *,
        num_hidden_channels: int = 12,
        hidden_size: int = 64,
        num_learned_filters: int = 2,
        steps: int = 16,
        fire_rate: float = 0.8,
        epochs: int = 60,
        batch_size: int = 8,
        learning_rate: float = 4e-3,
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
        self.standardize = standardize
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def _build(
        self,
        channels: int,
        size: tuple[int, int],  # noqa: ARG002 - cells are segmented one by one
    ) -> SegmentationNCAModel:
        classes = len(self.classes_)
        return SegmentationNCAModel(
            self._device(),
            channels,
            self.num_hidden_channels,
            num_classes=1 if classes == 2 else classes,
            fire_rate=self.fire_rate,
            hidden_size=self.hidden_size,
            num_learned_filters=self.num_learned_filters,
            filter_padding="replicate",
            training_timesteps=self.steps,
            inference_timesteps=self.steps,
        )

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803 - scikit-learn's name
        """Train a new model.

        Args:
            X: Images, shape ``(N, W, H)``, ``(N, W, H, C)`` or ``(N, features)``, finite numbers.
            y: Masks, shape ``(N, W, H)``, or ``(N, W * H)`` for samples that are rows: integers
                or booleans. The smallest label is the background.

        Returns:
            The estimator itself.

        Raises:
            ValueError: If the shapes do not fit, a value is not finite, or there are fewer than
                two labels.
            TypeError: If labels are neither integers nor booleans.
        """
        self._check_parameters()
        # scikit-learn checks labels of up to two axes.
        flat = y if np.asarray(y).ndim < 3 else np.reshape(y, (len(np.asarray(y)), -1))
        images, _ = self._pairs(X, flat, multi_output=True)
        masks = self._as_masks(y, images)
        self.classes_, labels = np.unique(masks, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y must have at least two labels, got only {self.classes_}")
        self._fit(images, labels.reshape(masks.shape).astype(np.int64))
        return self

    def _as_masks(self, y: ArrayLike, images: Images) -> NDArray[Any]:
        """Check masks and arrange them as the images, shape ``(N, W, H)``."""
        masks = np.asarray(y)
        if masks.dtype.kind not in "bui":
            raise TypeError(f"y must be masks of integers or booleans, got dtype {masks.dtype}")
        wanted = (len(images), *images.shape[2:])
        if masks.shape not in (wanted, (len(images), images[0, 0].size)):
            raise ValueError(f"y must be masks of shape {wanted}, got {masks.shape}")
        return masks.reshape(wanted)

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:  # noqa: N803
        """Return the probability of each label for each cell.

        Returns:
            Probabilities, shape ``(N, W, H, K)``, float64; ``(N, W * H, K)`` for rows.
        """
        check_is_fitted(self)
        batches = []
        for prediction in self._predictions(X):
            probabilities = self.model_.interpret(prediction).cpu().numpy().astype(np.float64)
            if len(self.classes_) == 2:
                foreground = probabilities.reshape(-1, 1, *probabilities.shape[-2:])
                probabilities = np.concatenate([1 - foreground, foreground], axis=1)
            batches.append(probabilities.transpose(0, 2, 3, 1))
        joined = np.concatenate(batches)
        return (
            joined.reshape(len(joined), -1, joined.shape[-1]) if np.asarray(X).ndim == 2 else joined
        )

    def predict(self, X: ArrayLike) -> NDArray[Any]:  # noqa: N803
        """Return the most probable label of each cell, shape ``(N, W, H)``; rows of rows."""
        chosen = self.predict_proba(X).argmax(axis=-1)
        labels: NDArray[Any] = self.classes_[chosen]
        return labels

    def score(self, X: ArrayLike, y: ArrayLike) -> float:  # noqa: N803
        """Return the Dice score over all cells: of the foreground, or the mean over labels.

        With more than two labels, it is the mean of the Dice scores of all labels but the
        background. A label that is neither there nor predicted does not count.
        """
        masks = self._as_masks(y, as_images(np.asarray(X), self.image_shape))
        predicted = self.predict(X)
        labels = np.intersect1d(self.classes_[1:], np.union1d(masks, predicted))
        if len(labels) == 0:
            return 1.0
        return float(f1_score(masks.ravel(), predicted.ravel(), labels=labels, average="macro"))

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.two_d_array = False
        return tags
