"""Base of all estimators: checked data, a seeded training, repeatable predictions."""

import logging
import math
from abc import abstractmethod
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_array, check_random_state
from sklearn.utils.validation import check_consistent_length, check_is_fitted, validate_data
from torch import Tensor

from ncalab.core import AbstractNCAModel, Preparation, get_compute_device
from ncalab.core.argument_types import check_mapping, check_positive
from ncalab.core.checks import check_choice, check_flag, check_int, check_number, check_timesteps
from ncalab.core.saving import PathLike
from ncalab.estimators.files import read_estimator, write_estimator
from ncalab.estimators.images import (
    ARRAY_NORMALIZATIONS,
    ImageShape,
    Standardization,
    as_images,
    learn_preparation,
    number_of_axes,
    read_image_shape,
)
from ncalab.estimators.training import Training, constructor_arguments, train
from ncalab.tasks.data_summary import DataSummary
from ncalab.tasks.recommend import Recommendation, overridden, recommend
from ncalab.tasks.scales import check_scales, share_timesteps
from ncalab.train.recipe import find_recipe
from ncalab.train.seeds import derived_seed, seeded

logger = logging.getLogger(__name__)

# All images of a batch draw the same fire masks, so that none depends on its neighbours.
_SAMPLE = 0
# Products of matrices of few rows take other ways through a linear algebra library, with other
# rounding: small batches of small images are filled up to so many cells.
_FEWEST_CELLS = 4096


class NCAEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Base class of estimators; a subclass says what model it fits and what labels mean."""

    model_: AbstractNCAModel
    recommendation_: Recommendation
    classes_: NDArray[Any]
    mean_: NDArray[np.float64]
    scale_: NDArray[np.float64]

    # What a subclass defines

    _model_class: ClassVar[type[AbstractNCAModel]]
    """Class of the model that is fitted."""

    @abstractmethod
    def _task_arguments(
        self, shape: ImageShape, classes: NDArray[Any], labels: NDArray[Any]
    ) -> dict[str, Any]:
        """Return arguments of the task's model alone; ``labels`` are indices of ``classes``."""

    def _hints(self, recommended: Recommendation, used: Recommendation) -> tuple[str, ...]:  # noqa: ARG002 - a classifier compares them
        """Return further reasons, and what may help and was not taken; a sentence each."""
        return ()

    @abstractmethod
    def _check_labels(self, y: Any, images: NDArray[Any]) -> NDArray[Any]:
        """Return the labels in the shape that the task's loss takes, not yet encoded."""

    def _strata(self, labels: NDArray[Any]) -> NDArray[Any] | None:  # noqa: ARG002 - a classifier returns them
        """Return what a validation split keeps the proportions of."""
        return None

    def _patch_size(self, recommended: Recommendation) -> int | None:  # noqa: ARG002 - a segmenter takes it
        """Return the side of the patches to train on; None for whole images."""
        return None

    # Data

    def _check_images(self, X: Any, *, reset: bool) -> NDArray[Any]:  # noqa: N803 - scikit-learn's name
        """Return data as images ``(N, W, H, C)``, float32 and finite."""
        if number_of_axes(X) <= 2:
            array = validate_data(self, X, reset=reset, dtype=np.float32)
            shape = read_image_shape(self.image_shape) if reset else ImageShape(*self.image_shape_)
            return as_images(array, shape)
        array = check_array(X, dtype=np.float32, ensure_2d=False, allow_nd=True)
        images = as_images(array, None)
        self._check_size(images.shape[1:], reset=reset)
        return images

    def _check_size(self, shape: tuple[int, ...], *, reset: bool) -> None:
        """Raise unless images are what the estimator was made for or fitted to."""
        if 0 in shape:
            raise ValueError(f"X must hold images of at least one cell, got {shape}")
        if not reset:
            # A cellular automaton runs on grids of any size.
            if shape[-1] != self.image_shape_[-1]:
                raise ValueError(
                    f"X must have {self.image_shape_[-1]} channels, as in fit, got {shape[-1]}"
                )
            return
        given = read_image_shape(self.image_shape)
        if given is not None and tuple(given) != tuple(shape):
            raise ValueError(f"image_shape must be that of X, {shape}, got {tuple(given)}")

    def as_tensor(self, X: Any) -> Tensor:  # noqa: N803 - scikit-learn's name
        """Return data as ``model_`` sees them.

        Args:
            X: As in :meth:`predict`.

        Returns:
            Images, normalised and standardised if the estimator does so, shape ``(N, C, W, H)``,
            float32.
        """
        check_is_fitted(self)
        images = self._check_images(X, reset=False)
        return self._preparation(self.model_).apply_to_all(images)

    @staticmethod
    def _preparation(model: AbstractNCAModel) -> Preparation:
        """Return what is done to images before a fitted model sees them."""
        return model.preparation or Preparation(raw=True)

    # Fitting

    def fit(self, X: Any, y: Any) -> Self:  # noqa: N803 - scikit-learn's name
        """Train a model.

        Args:
            X: Images ``(N, W, H)`` or ``(N, W, H, C)``, or flat ones ``(N, features)``; real
                numbers.
            y: Labels, as the class describes them.

        Returns:
            The estimator.

        Raises:
            TypeError: If a parameter has another type.
            ValueError: If one is out of its range, or data do not fit it or each other.
            RuntimeError: If the training diverges.
        """
        self._check_parameters()
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None"
            )
        before = self.__dict__.copy()
        try:
            images = self._check_images(X, reset=True)
            check_consistent_length(images, y)
            labels = self._check_labels(y, images)
            classes, encoded = np.unique(labels, return_inverse=True)
            if len(classes) < 2:
                raise ValueError(f"y must hold at least 2 classes, got {len(classes)} class")
            seed = self._draw_seed()
            with seeded(seed):
                self._fit(images, classes, encoded.reshape(labels.shape), seed)
        except BaseException:
            # What was fitted before still predicts: scikit-learn notes new features first of all.
            self.__dict__ = before
            raise
        return self

    def _fit(
        self, images: NDArray[Any], classes: NDArray[Any], labels: NDArray[Any], seed: int
    ) -> None:
        """Train on checked data, and keep what came of it."""
        shape = ImageShape(*images.shape[1:])
        recommended = self._recommend(shape, labels)
        model = self._previous(classes, shape)
        if model is None:
            preparation, statistics = learn_preparation(
                images, self.normalize, standardize=self.standardize
            )
            arguments = self._model_arguments(shape, classes, labels)
            self.recommendation_ = self._overridden(recommended, shape, arguments)
            model = self._make_model(shape, arguments)
            model.preparation = preparation
        else:
            statistics = Standardization(self.mean_, self.scale_)
        result = train(
            model,
            self._preparation(model).apply_to_all(images),
            torch.from_numpy(labels.astype(np.int64)),
            Training(
                epochs=self.epochs,
                minutes=self.max_minutes,
                recipe=self.recipe,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                validation_fraction=self.validation_fraction if self.early_stopping else None,
                patience=self.n_iter_no_change,
                progress=bool(self.verbose),
            ),
            strata=self._strata(labels),
            patch_size=self._patch_size(recommended),
        )
        self.model_ = result.model.eval()
        self.classes_ = classes
        self.mean_, self.scale_ = statistics
        self.image_shape_ = tuple(shape)
        self.n_features_in_ = math.prod(shape)
        self.seed_ = derived_seed(seed, 0)
        self.n_iter_ = len(result.losses)
        self.loss_curve_ = result.losses
        self.validation_scores_ = result.scores

    def _previous(self, classes: NDArray[Any], shape: ImageShape) -> AbstractNCAModel | None:
        """Return what a warm start continues from; None for a cold one."""
        if not self.warm_start or not hasattr(self, "model_"):
            return None
        if not np.array_equal(classes, self.classes_) or shape[-1] != self.image_shape_[-1]:
            raise ValueError(
                "warm_start must be False for other classes or channels than those fitted before "
                f"({list(self.classes_)}, {self.image_shape_[-1]} channels), "
                f"got {list(classes)}, {shape[-1]} channels"
            )
        # A copy: a training that fails must not leave a half-trained model behind.
        return deepcopy(self.model_)

    def _check_parameters(self) -> None:
        """Raise for arguments that model and trainer would name by other names."""
        for name in ("epochs", "batch_size", "n_iter_no_change"):
            check_int(name, getattr(self, name), minimum=1)
        for name in ("early_stopping", "standardize", "warm_start"):
            check_flag(name, getattr(self, name))
        if not _is_auto(self.steps):
            check_timesteps("steps", self.steps)
        if not _is_auto(self.scales):
            self._check_scales()
        find_recipe(self.recipe, self._model_class.task)
        check_choice("normalize", self.normalize, ARRAY_NORMALIZATIONS)
        for name in ("max_minutes", "learning_rate"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        check_number("validation_fraction", self.validation_fraction)
        if not 0 < self.validation_fraction < 1:
            raise ValueError(
                f"validation_fraction must be in (0, 1), got {self.validation_fraction}"
            )
        if not isinstance(self.verbose, bool | np.bool_):
            check_int("verbose", self.verbose, minimum=0)
        self._check_model_params()

    def _check_scales(self) -> None:
        scales = check_scales(self.scales)
        if not _is_auto(self.steps):
            share_timesteps({"steps": self.steps}, scales, can_drop=False)

    def _check_model_params(self) -> None:
        check_mapping("model_params", self.model_params, optional=True)
        known = constructor_arguments(self._model_class)
        if unknown := sorted(set(self.model_params or {}) - known):
            raise TypeError(
                f"model_params must be arguments of {self._model_class.__name__}, "
                f"got {unknown[0]!r}"
            )

    def _draw_seed(self) -> int:
        """Return a seed from ``random_state``.

        Raises:
            ValueError: If it is neither a seed nor a generator.
        """
        try:
            generator = check_random_state(self.random_state)
        except ValueError as error:
            raise ValueError(
                "random_state must be a seed in [0, 2**32), a RandomState or None, "
                f"got {self.random_state!r:.80}"
            ) from error
        return int(generator.randint(2**31 - 1))

    def _recommend(self, shape: ImageShape, labels: NDArray[Any]) -> Recommendation:
        """Choose a model for the training images, whose labels are indices of classes."""
        counts = np.bincount(labels.reshape(-1))
        shares = tuple((counts / counts.sum()).tolist())
        size = (shape.width, shape.height)
        return recommend(
            self._model_class.task, DataSummary(size, shape.channels, shares, len(labels))
        )

    def _overridden(
        self, recommended: Recommendation, shape: ImageShape, arguments: dict[str, Any]
    ) -> Recommendation:
        """Return a recommendation with what is not left open replaced, and log the reasons.

        Args:
            recommended: The recommendation.
            shape: Shape of the images.
            arguments: Arguments of the model, of which there is a choice no more.
        """
        size = (shape.width, shape.height)
        scales = None if _is_auto(self.scales) else check_scales(self.scales, size)
        chosen = overridden(recommended, scales=scales, **arguments)
        chosen = replace(
            chosen,
            reasons=(*chosen.reasons, *self._hints(recommended, chosen)),
            patch_size=self._patch_size(recommended),
        )
        for reason in chosen.reasons:
            logger.info("%s: %s", type(self).__name__, reason)
        return chosen

    def _model_arguments(
        self, shape: ImageShape, classes: NDArray[Any], labels: NDArray[Any]
    ) -> dict[str, Any]:
        """Return the model's arguments, without the numbers of steps that are left open."""
        return {
            "num_hidden_channels": self.num_hidden_channels,
            "fire_rate": self.fire_rate,
            "hidden_size": self.hidden_size,
            "num_learned_filters": self.num_learned_filters,
            "kernel_size": self.kernel_size,
            "filter_padding": self.filter_padding,
            **self._task_arguments(shape, classes, labels),
            **self._timesteps(),
            **(self.model_params or {}),
        }

    def _timesteps(self) -> dict[str, Any]:
        if _is_auto(self.steps):
            return {}
        steps = check_timesteps("steps", self.steps)
        return {
            "training_timesteps": steps,
            # The longest rollout that it was trained for.
            "inference_timesteps": steps if isinstance(steps, int) else steps[1] - 1,
        }

    def _make_model(self, shape: ImageShape, arguments: dict[str, Any]) -> AbstractNCAModel:
        """Create the model that runs at all of the recommended scales."""
        chosen = self.recommendation_
        steps = sum(chosen.steps)
        model = self._model_class(
            get_compute_device(self.device),
            shape.channels,
            **{"training_timesteps": steps, "inference_timesteps": steps, **arguments},
        )
        return chosen.in_scales(model)

    # Prediction

    def _logits(self, X: Any) -> Iterator[Tensor]:  # noqa: N803 - scikit-learn's name
        """Predict logits batch by batch, float64, always alike for the same image."""
        images = self.as_tensor(X)
        cells = images.shape[2] * images.shape[3]
        fewest = min(self.batch_size, math.ceil(_FEWEST_CELLS / cells))
        for batch in images.split(self.batch_size):
            missing = max(0, fewest - len(batch))
            filled = torch.cat([batch, batch[-1:].expand(missing, -1, -1, -1)])
            samples = [_SAMPLE] * len(filled)
            prediction = self.model_.predict(filled, seed=self.seed_, samples=samples)
            yield prediction.logits[: len(batch)].double()

    # Files

    def save_pretrained(self, folder: PathLike) -> None:
        """Write the fitted estimator into a folder, created if missing.

        It holds ``model.safetensors`` and ``config.json``, which the model's class can read on
        its own, and ``estimator.json``: parameters, classes and standardisation.

        Args:
            folder: Where to write; files of these names are replaced.

        Raises:
            NotFittedError: If there is nothing to save.
            TypeError: If a parameter is not data that JSON can hold, such as a ``RandomState``.
        """
        check_is_fitted(self)
        write_estimator(self, Path(folder))

    @classmethod
    def from_pretrained(cls, folder: PathLike) -> Self:
        """Rebuild an estimator that :meth:`save_pretrained` wrote.

        Args:
            folder: The folder.

        Returns:
            The estimator, fitted; its predictions are those of the saved one.

        Raises:
            FileNotFoundError: If the folder lacks a file.
            ValueError: If a file is broken, or of another class.
        """
        return read_estimator(cls, Path(folder))

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled, with the model on the CPU, so that any machine can read it."""
        state: dict[str, Any] = dict(super().__getstate__())
        if "model_" in state:
            # Metrics and their counts are the training's.
            state["model_"] = deepcopy(state["model_"]).to("cpu")
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take up what was pickled, on the device of the parameters if it is there."""
        super().__setstate__(state)
        if "model_" in state:
            self.model_.to(get_compute_device(self.device))

    def __sklearn_tags__(self) -> Any:
        """Tell scikit-learn that images are welcome, too, and labels needed."""
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.target_tags.required = True
        return tags


def _is_auto(value: Any) -> bool:
    """Return whether a parameter is left open; others may be arrays, which compare item by item."""
    return isinstance(value, str) and value == "auto"
