"""From checked settings to what trains."""

import inspect
import math
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch.optim import Optimizer, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import Dataset

from ncalab.cli.config.check import placed
from ncalab.cli.config.sections import FILLED, Checked
from ncalab.core import AbstractNCAModel
from ncalab.tasks import CascadeNCA
from ncalab.tasks.recommend import (
    OF_THE_DATA,
    Recommendation,
    describe_patches,
    overridden,
    recommend,
    recommended_tasks,
    summarize_data,
)
from ncalab.train import BasicNCATrainer, EarlyStopping, Pool, Recipe

# Share of a one-cycle schedule's steps in which the rate rises, unless a setting says so.
_RISE = 0.3


def build_model(checked: Checked, device: torch.device) -> AbstractNCAModel:
    """Make the model, and the cascade around it if the settings have one.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range.
    """
    with placed("model"):
        model = AbstractNCAModel.from_dict(checked.model, device=device)
    if checked.cascade is None:
        return model
    with placed("cascade"):
        return CascadeNCA(model, **checked.cascade)


def build_recommended(
    checked: Checked, model: AbstractNCAModel, data: Dataset[Any], device: torch.device
) -> tuple[AbstractNCAModel, Checked, tuple[str, ...]]:
    """Fill in what the settings leave open, from the training data.

    Args:
        checked: The settings.
        model: The model as they alone describe it.
        data: What is to be trained on.
        device: Where to make the model.

    Returns:
        The model, the settings with what was filled in, and the reasons for the model.
    """
    task = str(model.task)
    if not checked.top.recommend or task not in recommended_tasks():
        return model, checked, ()
    given = {name: value for name, value in checked.model.items() if name != "class"}
    known = {name: given[name] for name in OF_THE_DATA if name in given}
    recommended = recommend(task, summarize_data(task, data, **known))
    with placed("model"):
        chosen = overridden(recommended, **given)
    arguments = {**chosen.model, "class": checked.model["class"]}
    cascade, reasons = checked.cascade, chosen.reasons
    if cascade is not None:
        reasons = reasons[1:]  # scales and steps are given
    elif len(chosen.scales) > 1:
        scales = {"scales": chosen.scales, "steps": chosen.steps, "single_model": False}
        cascade = {**scales, **chosen.given_timesteps()}
    else:
        arguments = {**chosen.timesteps(), **arguments}
    filled = replace(checked, model=arguments, cascade=cascade)
    if "recipe" not in checked.trainer:
        filled = replace(filled, trainer={"recipe": "recommended", **checked.trainer})
    if (size := _open_patch_size(checked, chosen)) is not None:
        filled = replace(filled, changes=replace(checked.changes, patch_size=size))
        reasons = (*reasons, describe_patches(size))
    with placed("recommend"):
        return build_model(filled, device), filled, reasons


def _open_patch_size(checked: Checked, chosen: Recommendation) -> int | None:
    """Return the recommended side of patches, if the settings leave it open; None otherwise."""
    is_open = checked.data_source.patches is not None and checked.changes.patch_size is None
    return chosen.patch_size if is_open else None


def describe_recipe(checked: Checked, trainer: BasicNCATrainer) -> str:
    """Describe the options that the recommended recipe and the settings make together.

    Those that stay what the signature of the trainer has are left out, unless they were set.

    Args:
        checked: The settings.
        trainer: What was made of them.
    """
    signature = inspect.signature(BasicNCATrainer).parameters
    names = [field.name for field in fields(Recipe)]
    names.insert(names.index("decay") + 1, "lr_gamma")
    scheduled, decays = trainer.lr_scheduler is not None, trainer.decay != "gamma"
    idle = {"adam_lr"} if trainer.optimizer_method != "muon" else set()
    idle |= {"lr_gamma"} if scheduled or decays else {"final_lr"}
    idle |= {"decay"} if scheduled else set()
    as_set = sorted(set(names) & checked.trainer.keys()) + ["scheduler"] * scheduled
    options = [
        f"{name}={getattr(trainer, name)!r}"
        for name in names
        if name not in idle
        and (name in as_set or getattr(trainer, name) != signature[name].default)
    ]
    besides = f", but for {', '.join(as_set)} as set" if as_set else ""
    return f"trained by the recommended recipe{besides}: {', '.join(options)}"


def build_trainer(
    checked: Checked, model: AbstractNCAModel, folder: Path | None, batches: int
) -> BasicNCATrainer:
    """Make the trainer, with its pool and schedule; try the schedule out.

    Args:
        checked: The settings.
        model: The model.
        folder: Run folder.
        batches: Number of batches in an epoch.
    """
    with placed("pool"):
        pool = None if checked.pool is None else Pool(**checked.pool)
    schedule: dict[str, Any] = {}
    if checked.scheduler is not None:
        schedule["lr_scheduler"] = _schedule(checked, batches)
    with placed("trainer"):
        trainer = BasicNCATrainer(model, folder, pool=pool, **schedule, **checked.trainer)
    if schedule:
        _try_schedule(trainer)
    return trainer


def build_early_stopping(checked: Checked) -> EarlyStopping | None:
    """Make what ends the training early, if anything does."""
    if checked.early_stopping is None:
        return None
    with placed("early_stopping"):
        return EarlyStopping(**checked.early_stopping)


def _schedule(checked: Checked, batches: int) -> Callable[[Optimizer], LRScheduler]:
    """Return what makes the schedule of an optimiser; its length is the training's if not given.

    Args:
        checked: The settings, with a schedule.
        batches: Number of batches in an epoch.
    """
    settings = checked.scheduler or {}
    name = settings["class"]
    arguments = {key: value for key, value in settings.items() if key != "class"}
    is_open = name in FILLED and not {"total_steps", "epochs", FILLED[name]} & arguments.keys()

    def make(optimizer: Optimizer) -> LRScheduler:
        # The trainer's rates: "muon" has one for the matrices and one for all else.
        rates = {"max_lr": [group["lr"] for group in optimizer.param_groups]}
        given = {**rates, **arguments} if name == "OneCycleLR" else dict(arguments)
        if is_open:
            shortest = _shortest_cycle(arguments) if name == "OneCycleLR" else 1
            given[FILLED[name]] = max(_length(checked, FILLED[name], batches), shortest)
        made: LRScheduler = getattr(lr_scheduler, name)(optimizer, **given)
        return made

    return make


def _length(checked: Checked, filled: str, batches: int) -> int:
    """Return the number of times that the schedule of a training steps."""
    bound = inspect.signature(BasicNCATrainer).bind_partial(**checked.trainer)
    bound.apply_defaults()
    trainer = bound.arguments
    if trainer["max_minutes"] is not None:
        raise ValueError(
            f"{filled} must be given with trainer.max_minutes, got nothing; without the section "
            'scheduler, trainer.decay = "cosine" follows the minutes'
        )
    epochs: int = trainer["max_epochs"]
    per_epoch = math.ceil(batches / trainer["accumulate"])
    return epochs * (per_epoch if trainer["scheduler_interval"] == "batch" else 1)


def _shortest_cycle(arguments: dict[str, Any]) -> int:
    """Return the least length of a one-cycle schedule whose first phase has a step."""
    rise = arguments.get("pct_start", _RISE)
    return math.floor(1 / rise) + 1 if 0 < rise <= 1 else 1


def _try_schedule(trainer: BasicNCATrainer) -> None:
    """Make the schedule once, of an optimiser that takes no step."""
    with placed("scheduler"):
        try:
            optimizer, *_ = trainer._make_optimizers()
        except ZeroDivisionError:
            raise ValueError("one of its phases has no step; raise total_steps") from None
        rate = optimizer.param_groups[0]["lr"]
        if not 0 <= rate < math.inf:
            raise ValueError(f"learning rates must be at least 0 and finite, got {rate}")
