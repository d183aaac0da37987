"""From checked settings to what trains."""

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
        The model, the settings with what was filled in, and the reasons.
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
    with placed("recommend"):
        built = build_model(filled, device)
    if "recipe" not in checked.trainer:
        reasons = (*reasons, _describe_recipe(filled, built))
    return built, filled, reasons


def _describe_recipe(checked: Checked, model: AbstractNCAModel) -> str:
    """Describe the options that the recommended recipe and the settings make together."""
    names = {field.name for field in fields(Recipe)}
    with placed("trainer"):
        trainer = BasicNCATrainer(model, None, **checked.trainer)
    if checked.scheduler is not None:
        names -= {"decay", "final_lr"}
    if trainer.optimizer_method != "muon":
        names -= {"adam_lr"}
    options = [
        f"{field.name}={getattr(trainer, field.name)!r}"
        for field in fields(Recipe)
        if field.name in names
    ]
    as_set = sorted(names & checked.trainer.keys())
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
    with placed("trainer"):
        trainer = BasicNCATrainer(model, folder, pool=pool, **checked.trainer)
    if checked.scheduler is not None:
        trainer.lr_scheduler = _schedule(checked.scheduler, trainer, batches)
        _try_schedule(trainer)
    return trainer


def build_early_stopping(checked: Checked) -> EarlyStopping | None:
    """Make what ends the training early, if anything does."""
    if checked.early_stopping is None:
        return None
    with placed("early_stopping"):
        return EarlyStopping(**checked.early_stopping)


def _schedule(
    settings: dict[str, Any], trainer: BasicNCATrainer, batches: int
) -> Callable[[Optimizer], LRScheduler]:
    """Return what makes the schedule of an optimiser; its length is the training's if not given."""
    name = settings["class"]
    arguments = {key: value for key, value in settings.items() if key != "class"}
    per_epoch = math.ceil(batches / trainer.accumulate)
    length = trainer.max_epochs * (per_epoch if trainer.scheduler_interval == "batch" else 1)
    is_open = name in FILLED and not {"total_steps", "epochs", FILLED[name]} & arguments.keys()
    if is_open and trainer.max_minutes is not None:
        raise ValueError(
            f"scheduler.{FILLED[name]} must be given with trainer.max_minutes, got nothing; "
            'trainer.decay = "cosine" follows the minutes'
        )
    if is_open:
        shortest = _shortest_cycle(arguments) if name == "OneCycleLR" else 1
        arguments[FILLED[name]] = max(length, shortest)

    def make(optimizer: Optimizer) -> LRScheduler:
        # The trainer's rates: "muon" has one for the matrices and one for all else.
        rates = {"max_lr": [group["lr"] for group in optimizer.param_groups]}
        given = {**rates, **arguments} if name == "OneCycleLR" else arguments
        made: LRScheduler = getattr(lr_scheduler, name)(optimizer, **given)
        return made

    return make


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
