"""The settings of a trainer, for another model and another folder."""

import inspect
from copy import deepcopy
from typing import Any

from torch.optim.lr_scheduler import LRScheduler

from ncalab.core import AbstractNCAModel
from ncalab.core.saving import PathLike
from ncalab.train.trainer import BasicNCATrainer

_OF_ONE_RUN = ("nca", "model_path")


def trainer_settings(trainer: BasicNCATrainer) -> dict[str, Any]:
    """Return the arguments of a trainer's constructor other than model and folder."""
    names = inspect.signature(type(trainer)).parameters
    return {name: getattr(trainer, name) for name in names if name not in _OF_ONE_RUN}


def clone_trainer(
    trainer: BasicNCATrainer, nca: AbstractNCAModel, model_path: PathLike | None
) -> BasicNCATrainer:
    """Return a trainer with the same settings for another model and run folder.

    Args:
        trainer: Trainer that keeps its arguments in attributes of the same names.
        nca: Model to train.
        model_path: Its run folder; None to save nothing.

    Raises:
        ValueError: If its scheduler belongs to the optimiser of its model: it could train no other.
    """
    settings = trainer_settings(trainer)
    if isinstance(trainer.lr_scheduler, LRScheduler):
        raise ValueError(
            "lr_scheduler must be a function from optimiser to scheduler to train more than one "
            f"model, got a {type(trainer.lr_scheduler).__name__} of one model's optimiser"
        )
    if trainer.pool is not None:
        arguments = {name: getattr(trainer.pool, name) for name in _arguments(trainer.pool)}
        settings["pool"] = type(trainer.pool)(**deepcopy(arguments))
    return type(trainer)(nca, model_path, **settings)


def _arguments(instance: object) -> list[str]:
    return list(inspect.signature(type(instance)).parameters)
