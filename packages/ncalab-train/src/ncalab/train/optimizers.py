"""Optimisers and learning-rate schedules by name or as given."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adagrad": torch.optim.Adagrad,
    "adafactor": torch.optim.Adafactor,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
_WITH_BETAS = ("adam", "adamw")

SchedulerFactory = Callable[[Optimizer], LRScheduler]


def default_lr(method: str) -> float:
    """Return the learning rate of a method unless told otherwise.

    >>> default_lr("adam"), default_lr("sgd")
    (0.0016, 0.01)
    """
    return 16e-4 if method in _WITH_BETAS else 1e-2


def make_optimizer(
    method: str, parameters: Iterable[nn.Parameter], lr: float, betas: tuple[float, float]
) -> Optimizer:
    """Create an optimiser.

    Args:
        method: Key of ``OPTIMIZERS``.
        parameters: What to train.
        lr: Learning rate.
        betas: Averaging coefficients of Adam and AdamW.
    """
    options: dict[str, Any] = {"betas": betas} if method in _WITH_BETAS else {}
    if method == "sgd":
        options = {"momentum": 0.9, "nesterov": True}
    return OPTIMIZERS[method](list(parameters), lr=lr, **options)


def schedule(
    optimizer: Optimizer, given: LRScheduler | SchedulerFactory | None, gamma: float
) -> LRScheduler:
    """Return the given scheduler, one made by the given factory, or exponential decay."""
    if given is None:
        return ExponentialLR(optimizer, gamma)
    return given if isinstance(given, LRScheduler) else given(optimizer)


def check_scheduled_parameters(scheduler: LRScheduler, model: nn.Module) -> None:
    """Raise unless a scheduler's optimiser trains parameters of the model and no others.

    Raises:
        ValueError: If it was made for another model.
    """
    own = {id(p) for p in model.parameters()}
    scheduled = {id(p) for group in scheduler.optimizer.param_groups for p in group["params"]}
    if not scheduled or not scheduled <= own:
        raise ValueError(
            "lr_scheduler must belong to an optimiser of the trained model's parameters, got one "
            "of others; pass a function from optimiser to scheduler to have it made"
        )


def normalize_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Scale the gradient of every parameter tensor to length 1, in place.

    Source: Mordvintsev et al., Growing Neural Cellular Automata, Distill 2020,
    doi:10.23915/distill.00023, accompanying notebook: "per-variable L2 normalization".
    """
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad /= parameter.grad.norm() + 1e-8
