"""The settings of a training as one frozen value, and the rule of each."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Literal

from ncalab.core.argument_types import check_positive
from ncalab.core.checks import check_choice, check_flag, check_int
from ncalab.core.rollout import Checkpoint
from ncalab.train.arguments import check_betas, check_decays, check_share
from ncalab.train.budget import DECAYS, Decay
from ncalab.train.optimizers import OPTIMIZERS

Check = Callable[[str, Any], Any]
"""Takes name and value of a setting; returns the value, or raises an error that names both."""

# The limit of torch.optim.Muon.
_MOST_ITERATIONS = 99


def _at_least(minimum: int) -> Check:
    return lambda name, value: check_int(name, value, minimum=minimum)


def _one_of(choices: Collection[str]) -> Check:
    def check(name: str, value: Any) -> Any:
        check_choice(name, value, choices)
        return value

    return check


def _optional(check: Check) -> Check:
    return lambda name, value: None if value is None else check(name, value)


def _betas(_name: str, value: Any) -> Any:
    check_betas(value)
    return value


def _average_factor(name: str, value: Any) -> Any:
    check_decays(name, [value])
    return value


def _open_share(name: str, value: Any) -> float:
    return check_share(name, value, is_open=True)


def _kept_states(name: str, value: Any) -> Any:
    return value if value == "auto" else check_int(name, value, minimum=1)


def _iterations(name: str, value: Any) -> int:
    number = check_int(name, value, minimum=1)
    if number > _MOST_ITERATIONS:
        raise ValueError(f"{name} must be at most {_MOST_ITERATIONS}, got {value}")
    return number


RULES: Mapping[str, Check] = MappingProxyType(
    {
        "gradient_clipping": check_flag,
        "optimizer_method": _one_of(OPTIMIZERS),
        "lr": check_positive,
        "lr_gamma": check_positive,
        "adam_betas": _betas,
        "batch_repeat": _at_least(1),
        "max_epochs": _at_least(1),
        "gradient_normalization": check_flag,
        "scheduler_interval": _one_of(("epoch", "batch")),
        "progress": check_flag,
        "warmup_steps": _at_least(0),
        "ema_decay": _optional(_average_factor),
        "ema_warmup": check_flag,
        "precision": _one_of(("float32", "bf16")),
        "accumulate": _at_least(1),
        "checkpoint": _optional(_kept_states),
        "skip_nonfinite": check_flag,
        "max_minutes": _optional(check_positive),
        "decay": _one_of(DECAYS),
        "final_lr": check_share,
        "first_steps": _open_share,
        "adam_lr": check_positive,
        "muon_momentum": _average_factor,
        "muon_iterations": _iterations,
    }
)
"""Rule of every setting by its name; a recipe's options have the same."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a training; each is the argument of its name of BasicNCATrainer.

    Raises:
        TypeError: If a setting has another type.
        ValueError: If one is out of its range.
    """

    gradient_clipping: bool
    optimizer_method: str
    lr: float
    lr_gamma: float
    adam_betas: tuple[float, float]
    batch_repeat: int
    max_epochs: int
    gradient_normalization: bool
    scheduler_interval: Literal["epoch", "batch"]
    progress: bool
    warmup_steps: int
    ema_decay: float | None
    ema_warmup: bool
    precision: Literal["float32", "bf16"]
    accumulate: int
    checkpoint: Checkpoint
    skip_nonfinite: bool
    max_minutes: float | None
    decay: Decay
    final_lr: float
    first_steps: float
    adam_lr: float
    muon_momentum: float
    muon_iterations: int

    def __post_init__(self) -> None:
        for name in CONFIG_NAMES:
            object.__setattr__(self, name, RULES[name](name, getattr(self, name)))


CONFIG_NAMES = tuple(field.name for field in fields(TrainingConfig))
"""Names of the settings, in the order in which they are checked."""
