"""What a run was trained with, as data that tells two runs apart."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from ncalab.train.describe import describe

Settings = dict[str, Any]

PARAMETERS = "model.parameters"
"""Setting that says of each parameter whether it is trained."""

# How long, where and how visibly a training runs does not change what it computes; a recipe does
# by the other settings only.
_FREE = frozenset(
    {"nca", "model_path", "max_epochs", "max_minutes", "recipe", "progress", "accelerator"}
)
# Described through the objects that they become.
_OBJECTS = frozenset({"pool", "lr_scheduler"})
# What a scheduler counts, and what changes with it: its state, not its settings.
_MOVING = frozenset(
    {
        "last_epoch",
        "best",
        "num_bad_epochs",
        "cooldown_counter",
        "T_cur",
        "T_i",
        "lr",
        "params",
        "momentum",
        "betas",
    }
)


def describe_trainer(trainer: Any) -> Settings:
    """Return the constructor's arguments that decide what a training computes."""
    names = inspect.signature(type(trainer)).parameters
    kept = [name for name in names if name not in _FREE | _OBJECTS]
    settings = {f"trainer.{name}": describe(getattr(trainer, name)) for name in kept}
    return {**settings, "trainer.pool": None if trainer.pool is None else repr(trainer.pool)}


def describe_model(model: Any, *, saved: bool) -> Settings:
    """Return class and arguments of a model.

    Args:
        model: The model.
        saved: Whether it is to be saved: then it must be able to describe itself.
    """
    try:
        description = model.to_dict()
    except (AttributeError, TypeError):
        if saved:
            raise
        description = {"class": type(model).__name__}
    return {f"model.{name}": describe(value) for name, value in description.items()}


def describe_parameters(model: nn.Module, optimizers: Sequence[Optimizer]) -> Settings:
    """Say of each parameter of a model whether it is trained.

    Args:
        model: The model.
        optimizers: All that train it.
    """
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    held = {id(parameter) for group in groups for parameter in group["params"]}

    def state(parameter: nn.Parameter) -> str:
        if not parameter.requires_grad:
            return "frozen"
        return "trained" if id(parameter) in held else "in no optimizer"

    return {PARAMETERS: {name: state(p) for name, p in model.named_parameters()}}


def describe_optimizer(name: str, optimizer: Optimizer | None) -> Settings:
    """Return class and options of an optimiser."""
    if optimizer is None:
        return {name: None}
    settings = {name: type(optimizer).__name__}
    for i, group in enumerate(optimizer.param_groups):
        settings |= _constants(f"{name}.{i}" if i else name, group)
    return settings


def describe_scheduler(scheduler: LRScheduler) -> Settings:
    """Return class and constants of a schedule."""
    return {
        "lr_scheduler": type(scheduler).__name__,
        **_constants("lr_scheduler", scheduler.state_dict()),
    }


def _constants(prefix: str, values: Mapping[str, Any]) -> Settings:
    settings: Settings = {}
    for name, value in values.items():
        if name == "_schedulers":
            for i, inner in enumerate(value):
                settings |= _constants(f"{prefix}.{i}", inner)
        elif name not in _MOVING and not name.startswith("_") and _is_plain(value):
            settings[f"{prefix}.{name}"] = describe(value)
    return settings


def describe_data(loader: DataLoader[Any], val: DataLoader[Any] | None) -> Settings:
    """Return what decides the batches of an epoch, and how much it is validated on."""
    inner = getattr(loader.batch_sampler, "sampler", loader.sampler)
    return {
        "data.samples": _count(loader),
        "data.batch_size": loader.batch_size,
        "data.drop_last": loader.drop_last,
        "data.sampler": type(inner).__name__,
        "data.validated": val is not None,
        "data.val_samples": None if val is None else _count(val),
    }


def _count(loader: DataLoader[Any]) -> int | None:
    """Return the number of samples; None where the data set cannot tell."""
    dataset: Any = loader.dataset
    return len(dataset) if hasattr(dataset, "__len__") else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
