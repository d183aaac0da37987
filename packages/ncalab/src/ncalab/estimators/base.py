"""What the estimators share: preparing images, training a model, and running it."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel, Prediction, get_compute_device
from ncalab.core.checks import check_fraction, check_int
from ncalab.estimators.images import Images, as_images
from ncalab.train import BasicNCATrainer, EarlyStopping

# How scikit-learn checks arrays of samples.
_ARRAYS: dict[str, Any] = {"dtype": np.float32, "allow_nd": True}


class NCAEstimator(BaseEstimator):  # type: ignore[misc]  # untyped base
    """An estimator that trains a cellular automaton on images.

    A subclass has the parameters as attributes, as scikit-learn wants it, and builds the model.
    """

    image_shape: Any
    steps: int
    epochs: int
    batch_size: int
    learning_rate: float
    standardize: bool
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    random_state: Any
    device: str
    verbose: int
    model_: Any

    @abstractmethod
    def _build(self, channels: int, size: tuple[int, int]) -> AbstractNCAModel:
        """Make the model for images of so many channels, and of that size in training."""

    def _check_parameters(self) -> None:
        for name in ("steps", "epochs", "batch_size", "n_iter_no_change"):
            check_int(name, getattr(self, name), minimum=1)
        check_fraction("validation_fraction", self.validation_fraction)

    def _pairs(
        self,
        X: ArrayLike,  # noqa: N803 - scikit-learn's name
        y: ArrayLike,
        *,
        multi_output: bool = False,
    ) -> tuple[Images, NDArray[Any]]:
        """Check samples and labels, remember how they look, and arrange samples as images."""
        samples, labels = validate_data(self, X, y, multi_output=multi_output, **_ARRAYS)
        return as_images(samples, self.image_shape), labels

    def _images(self, X: ArrayLike) -> Images:  # noqa: N803
        """Check samples and arrange them as images."""
        if np.asarray(X).ndim > 2:
            # An automaton runs on a grid of any size: only rows need their number of features.
            return as_images(check_array(X, **_ARRAYS), self.image_shape)
        return as_images(validate_data(self, X, reset=False, **_ARRAYS), self.image_shape)

    def _fit(self, images: Images, labels: NDArray[np.int64], stratify: Any = None) -> None:
        """Train a new model on images and labels, batch first."""
        random = check_random_state(self.random_state)
        seed, self.prediction_seed_ = (int(n) for n in random.randint(2**31 - 1, size=2))
        self.n_channels_ = images.shape[1]
        axes = (0, 2, 3)
        channels = (1, self.n_channels_, 1, 1)
        mean, scale = images.mean(axes), images.std(axes)
        usable = self.standardize & (scale > 0)
        self.mean_ = np.where(self.standardize, mean, 0).astype(np.float32).reshape(channels)
        self.scale_ = np.where(usable, scale, 1).astype(np.float32).reshape(channels)
        pairs = torch.from_numpy(self._standardized(images)), torch.from_numpy(labels)
        with _seeded(seed):
            self._train(pairs, stratify, seed)

    def _standardized(self, images: Images) -> Images:
        return (images - self.mean_) / self.scale_

    def _train(self, pairs: tuple[Tensor, Tensor], stratify: Any, seed: int) -> None:
        size = (int(pairs[0].shape[2]), int(pairs[0].shape[3]))
        model = self._build(self.n_channels_, size)
        validation, stopping = None, None
        if self.early_stopping:
            pairs, held_out = self._split(pairs, stratify, seed)
            validation = DataLoader(TensorDataset(*held_out), batch_size=self.batch_size)
            stopping = EarlyStopping(self.n_iter_no_change)
        trainer = BasicNCATrainer(
            model,
            None,
            lr=self.learning_rate,
            lr_gamma=0.1 ** (1 / self.epochs),
            adam_betas=(0.9, 0.999),
            batch_repeat=1,
            max_epochs=self.epochs,
            gradient_clipping=True,
            progress=bool(self.verbose),
        )
        loader = DataLoader(TensorDataset(*pairs), batch_size=self.batch_size, shuffle=True)
        history = trainer.train(loader, validation, earlystopping=stopping)
        if self.early_stopping and history.best_model is not None:
            model = history.best_model
        self.n_iter_ = history.current_epoch
        self.model_ = model.eval()

    def _split(
        self, pairs: tuple[Tensor, Tensor], stratify: Any, seed: int
    ) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
        train, held_out = train_test_split(
            np.arange(len(pairs[0])),
            test_size=self.validation_fraction,
            stratify=stratify,
            random_state=seed,
        )
        (x, y), a, b = pairs, torch.from_numpy(train), torch.from_numpy(held_out)
        return (x[a], y[a]), (x[b], y[b])

    def _predictions(self, X: ArrayLike) -> Iterator[Prediction]:  # noqa: N803
        """Run the model on samples, batch by batch.

        In every image the same cells fire, so that what is predicted of an image depends neither
        on its place nor on the others.
        """
        check_is_fitted(self)
        images = self._images(X)
        if images.shape[1] != self.n_channels_:
            raise ValueError(
                f"X must have {self.n_channels_} channels as in fit, got {images.shape[1]}"
            )
        x = torch.from_numpy(self._standardized(images))
        for batch in x.split(self.batch_size):
            same = [0] * len(batch)
            yield self.model_.predict(batch, self.steps, seed=self.prediction_seed_, samples=same)

    def _device(self) -> torch.device:
        return get_compute_device(self.device)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator for a while, and leave the caller's as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
