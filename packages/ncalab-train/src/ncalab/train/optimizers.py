"""Optimisers and learning-rate schedules by name or as given."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler, ReduceLROnPlateau

from ncalab.train.muon import MuonWithAdam, rule_matrices

OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "adagrad": torch.optim.Adagrad,
    "adafactor": torch.optim.Adafactor,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
    "muon": MuonWithAdam,
}
_WITH_BETAS = ("adam", "adamw")

SchedulerFactory = Callable[[Optimizer], LRScheduler]


def default_lr(method: str) -> float:
    """Return the default learning rate of a method.

    >>> default_lr("adam"), default_lr("sgd"), default_lr("muon")
    (0.0016, 0.01, 0.06)
    """
    if method == "muon":
        return 0.06
    return 16e-4 if method in _WITH_BETAS else 1e-2


@dataclass(frozen=True)
class MuonOptions:
    """Options of "muon" beyond those that other methods have.

    Attributes:
        adam_lr: Learning rate of Adam, for parameters that are not matrices of a rule.
        momentum: Momentum of the matrices.
        iterations: Number of Newton-Schulz iterations.
    """

    adam_lr: float = default_lr("adam")
    momentum: float = 0.9
    iterations: int = 5


def make_optimizer(
    method: str,
    model: nn.Module,
    parameters: Iterable[nn.Parameter],
    lr: float,
    betas: tuple[float, float],
    *,
    muon: MuonOptions | None = None,
) -> Optimizer:
    """Create an optimiser.

    Args:
        method: Key of ``OPTIMIZERS``.
        model: The model that is trained.
        parameters: Which of its parameters to train.
        lr: Learning rate; with "muon", that of the rule's matrices.
        betas: Averaging coefficients of Adam and AdamW.
        muon: Options of "muon".

    Raises:
        ValueError: If the method is "muon" and no matrix of a rule is to be trained.
    """
    trained = list(parameters)
    if method == "muon":
        return _make_muon(model, trained, lr, betas, muon or MuonOptions())
    options: dict[str, Any] = {"betas": betas} if method in _WITH_BETAS else {}
    if method == "sgd":
        options = {"momentum": 0.9, "nesterov": True}
    return OPTIMIZERS[method](trained, lr=lr, **options)


def _make_muon(
    model: nn.Module,
    trained: list[nn.Parameter],
    lr: float,
    betas: tuple[float, float],
    options: MuonOptions,
) -> MuonWithAdam:
    own = {id(parameter) for parameter in rule_matrices(model)}
    matrices = [parameter for parameter in trained if id(parameter) in own]
    if not matrices:
        raise ValueError(
            "optimizer_method must be another one than 'muon' for a model whose rule has no "
            f"weight matrix to train, got {type(model).__name__}"
        )
    others = [parameter for parameter in trained if id(parameter) not in own]
    return MuonWithAdam(
        matrices,
        others,
        lr=lr,
        adam_lr=options.adam_lr,
        betas=betas,
        momentum=options.momentum,
        iterations=options.iterations,
    )


def schedule(
    optimizer: Optimizer, given: LRScheduler | SchedulerFactory | None, gamma: float
) -> LRScheduler:
    """Return the given scheduler, one made by the given factory, or exponential decay."""
    if given is None:
        return ExponentialLR(optimizer, gamma)
    if isinstance(given, LRScheduler):
        return given
    made = given(optimizer)
    if not isinstance(made, LRScheduler):
        raise TypeError(f"lr_scheduler must return a scheduler, got {made!r}")
    return made


def restore_scheduler(scheduler: LRScheduler, state: dict[str, Any]) -> None:
    """Load the state of a schedule.

    ``MultiStepLR`` counts its milestones in a Counter, which a checkpoint keeps as a plain dict.
    """
    inner = getattr(scheduler, "_schedulers", None)
    if inner is not None:
        own = {key: value for key, value in state.items() if key != "_schedulers"}
        scheduler.__dict__.update(own)
        for each, its in zip(inner, state["_schedulers"], strict=True):
            restore_scheduler(each, its)
        return
    counters = [key for key in state if isinstance(getattr(scheduler, key, None), Counter)]
    scheduler.load_state_dict({**state, **{key: Counter(state[key]) for key in counters}})


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


def check_plateau(scheduler: LRScheduler, *, higher_is_better: bool) -> None:
    """Raise unless a ReduceLROnPlateau waits for the direction in which the training improves.

    Raises:
        ValueError: If it waits for the other direction.
    """
    mode = "max" if higher_is_better else "min"
    if isinstance(scheduler, ReduceLROnPlateau) and scheduler.mode != mode:
        raise ValueError(
            f"lr_scheduler must be a ReduceLROnPlateau of mode {mode!r} for this validation_metric "
            f"(or, without validation, the loss), got mode {scheduler.mode!r}"
        )
