"""The training behind ``fit``."""

import inspect
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel
from ncalab.tasks import RandomPatches
from ncalab.train import BasicNCATrainer, EarlyStopping, Recipe, TrainingHistory
from ncalab.train.recipe import RecipeName


@dataclass(frozen=True)
class Training:
    """Settings of a training.

    Attributes:
        epochs: Number of epochs, at most, unless there are minutes.
        minutes: Minutes to train; None for epochs.
        recipe: Recipe of the trainer.
        batch_size: Images per optimiser step, at most.
        learning_rate: Initial learning rate; None for that of the recipe.
        validation_fraction: Share of the images to stop early on; None to train to the end.
        patience: Number of epochs without improvement after which to stop.
        progress: Whether to show a progress bar.
    """

    epochs: int
    minutes: float | None
    recipe: RecipeName | Recipe
    batch_size: int
    learning_rate: float | None
    validation_fraction: float | None
    patience: int
    progress: bool


@dataclass(frozen=True)
class Trained:
    """Result of a training: the model, its loss and, with a validation, its score per epoch."""

    model: AbstractNCAModel
    losses: list[float]
    scores: list[float] | None


def constructor_arguments(model_class: type) -> set[str]:
    """Return the names of the arguments of a class, and of what it passes keyword arguments on to.

    >>> from ncalab.tasks import ClassificationNCAModel
    >>> {"num_classes", "fire_rate"} <= constructor_arguments(ClassificationNCAModel)
    True
    """
    names: set[str] = set()
    for owner in model_class.__mro__:
        if "__init__" not in vars(owner):
            continue
        parameters = inspect.signature(owner).parameters.values()
        names |= {each.name for each in parameters}
        if all(each.kind is not each.VAR_KEYWORD for each in parameters):
            break
    return names


def train(
    model: AbstractNCAModel,
    images: Tensor,
    labels: Tensor,
    training: Training,
    *,
    strata: NDArray[Any] | None,
    patch_size: int | None = None,
) -> Trained:
    """Train a model; what is random is drawn from the default generators.

    Args:
        model: Model to train, in place.
        images: Shape ``(N, C, W, H)``.
        labels: As the model's loss takes them, N of them.
        training: How.
        strata: What a validation split keeps the proportions of, N labels; None for nothing.
        patch_size: Side of the patches to train on, of labels ``(N, W, H)``; None for whole images.

    Returns:
        The model with its last weights; with a validation, a copy with the best ones.
    """
    rate: dict[str, Any] = {} if training.learning_rate is None else {"lr": training.learning_rate}
    trainer = BasicNCATrainer(
        model,
        None,
        max_epochs=training.epochs,
        max_minutes=training.minutes,
        recipe=training.recipe,
        progress=training.progress,
        **rate,
    )
    size = training.batch_size
    if training.validation_fraction is None:
        history = trainer.train(_training_loader(images, labels, size, patch_size))
        return Trained(_averaged(model, history), history.loss, None)
    kept, held = _split(len(images), training.validation_fraction, strata)
    history = trainer.train(
        _training_loader(images[kept], labels[kept], size, patch_size),
        DataLoader(TensorDataset(images[held], labels[held]), min(size, len(held))),
        earlystopping=EarlyStopping(training.patience),
    )
    scores = history.metric_curves[str(model.validation_metric)]
    return Trained(history.best_model or model, history.loss, scores)


def _averaged(model: AbstractNCAModel, history: TrainingHistory) -> AbstractNCAModel:
    """Give a model the averaged weights of its training, if there are any."""
    if history.average_weights is not None:
        model.load_state_dict(history.average_weights)
    return model


def _training_loader(
    images: Tensor, labels: Tensor, size: int, patch_size: int | None
) -> DataLoader[Any]:
    data: Any = TensorDataset(images, labels)
    if patch_size is not None:
        data = RandomPatches(images, labels, patch_size)
    return DataLoader(data, batch_size=min(size, len(data)), shuffle=True)


def _split(
    count: int, fraction: float, strata: NDArray[Any] | None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Draw which images are trained on and which are held out."""
    try:
        kept, held = train_test_split(np.arange(count), test_size=fraction, stratify=strata)
    except ValueError as error:
        raise ValueError(
            "validation_fraction must leave images of each class to train and to validate on, "
            f"got {fraction} of {count} images ({error})"
        ) from error
    return kept, held
