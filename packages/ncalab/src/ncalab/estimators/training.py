"""The training behind ``fit``."""

import inspect
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel
from ncalab.train import BasicNCATrainer, EarlyStopping


@dataclass(frozen=True)
class Training:
    """How to train.

    Attributes:
        epochs: Number of epochs, at most.
        batch_size: Images per optimiser step, at most.
        learning_rate: Initial learning rate of Adam; it falls to 0 along half a cosine.
        validation_fraction: Share of the images to stop early on; None to train to the end.
        patience: Number of epochs without improvement after which to stop.
        progress: Whether to show a progress bar.
    """

    epochs: int
    batch_size: int
    learning_rate: float
    validation_fraction: float | None
    patience: int
    progress: bool


@dataclass(frozen=True)
class Trained:
    """What came of it: the model, its loss and, with a validation, its score per epoch."""

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
) -> Trained:
    """Train a model; what is random is drawn from the default generators.

    Args:
        model: Model to train, in place.
        images: Shape ``(N, C, W, H)``.
        labels: As the model's loss takes them, N of them.
        training: How.
        strata: What a validation split keeps the proportions of, N labels; None for nothing.

    Returns:
        The model with its last weights; with a validation, a copy with the best ones.
    """
    trainer = BasicNCATrainer(
        model,
        None,
        gradient_clipping=True,
        lr=training.learning_rate,
        batch_repeat=1,
        max_epochs=training.epochs,
        lr_scheduler=partial(CosineAnnealingLR, T_max=training.epochs),
        progress=training.progress,
    )
    size = training.batch_size
    if training.validation_fraction is None:
        history = trainer.train(_loader(images, labels, size, shuffle=True))
        return Trained(model, history.loss, None)
    kept, held = _split(len(images), training.validation_fraction, strata)
    history = trainer.train(
        _loader(images[kept], labels[kept], size, shuffle=True),
        _loader(images[held], labels[held], size, shuffle=False),
        earlystopping=EarlyStopping(training.patience),
    )
    scores = history.metric_curves[str(model.validation_metric)]
    return Trained(history.best_model or model, history.loss, scores)


def _loader(images: Tensor, labels: Tensor, size: int, *, shuffle: bool) -> DataLoader[Any]:
    data = TensorDataset(images, labels)
    return DataLoader(data, batch_size=min(size, len(images)), shuffle=shuffle)


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
