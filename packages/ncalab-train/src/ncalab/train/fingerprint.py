"""The fingerprint of a run: model, settings and data as plain values that two runs compare."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from ncalab.train.describe import describe

Fingerprint = dict[str, Any]

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


def describe_run(
    nca: nn.Module,
    options: Mapping[str, Any],
    pool: Any,
    optimizers: Sequence[Optimizer],
    scheduler: LRScheduler,
    loaders: tuple[DataLoader[Any], DataLoader[Any] | None],
    *,
    saved: bool,
) -> Fingerprint:
    """Describe a run: two of the same description compute the same.

    Args:
        nca: Model to train.
        options: Arguments of the trainer's constructor, by name.
        pool: Pool of states; None for no pool.
        optimizers: Optimiser of the model, and that of its head if it has one of its own.
        scheduler: Schedule of the learning rate.
        loaders: Training data, and validation data if there are any.
        saved: Whether the model is to be saved: then it must be able to describe itself.
    """
    return {
        **describe_model(nca, saved=saved),
        **describe_parameters(nca, optimizers),
        **describe_options(options),
        "trainer.pool": None if pool is None else repr(pool),
        **describe_optimizer("optimizer", optimizers[0]),
        **describe_optimizer("head_optimizer", optimizers[1] if len(optimizers) > 1 else None),
        **describe_scheduler(scheduler),
        **describe_data(*loaders),
    }


def describe_options(options: Mapping[str, Any]) -> Fingerprint:
    """Return the options of a trainer that decide what a training computes."""
    kept = options.keys() - _FREE - _OBJECTS
    return {f"trainer.{name}": describe(options[name]) for name in options if name in kept}


def describe_model(model: Any, *, saved: bool) -> Fingerprint:
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


def describe_parameters(model: nn.Module, optimizers: Sequence[Optimizer]) -> Fingerprint:
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


def describe_optimizer(name: str, optimizer: Optimizer | None) -> Fingerprint:
    """Return class and options of an optimiser."""
    if optimizer is None:
        return {name: None}
    settings = {name: type(optimizer).__name__}
    for i, group in enumerate(optimizer.param_groups):
        settings |= _constants(f"{name}.{i}" if i else name, group)
    return settings


def describe_scheduler(scheduler: LRScheduler) -> Fingerprint:
    """Return class and constants of a schedule."""
    return {
        "lr_scheduler": type(scheduler).__name__,
        **_constants("lr_scheduler", scheduler.state_dict()),
    }


def _constants(prefix: str, values: Mapping[str, Any]) -> Fingerprint:
    settings: Fingerprint = {}
    for name, value in values.items():
        if name == "_schedulers":
            for i, inner in enumerate(value):
                settings |= _constants(f"{prefix}.{i}", inner)
        elif name not in _MOVING and not name.startswith("_") and _is_plain(value):
            settings[f"{prefix}.{name}"] = describe(value)
    return settings


def describe_data(loader: DataLoader[Any], val: DataLoader[Any] | None) -> Fingerprint:
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
    """Return the number of samples; None for a data set without a length."""
    dataset: Any = loader.dataset
    return len(dataset) if hasattr(dataset, "__len__") else None


def _is_plain(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)
