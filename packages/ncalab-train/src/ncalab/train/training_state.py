"""The state of a training: everything that a checkpoint holds, and a training is resumed from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel

from ncalab.core import AbstractNCAModel
from ncalab.core.saving import check_weights
from ncalab.train.callbacks import LoopCallbacks
from ncalab.train.describe import differences
from ncalab.train.epoch_values import LossSums
from ncalab.train.fingerprint import Fingerprint
from ncalab.train.history import TrainingHistory
from ncalab.train.optimizer_step import OptimizerStep
from ncalab.train.optimizers import restore_scheduler
from ncalab.train.pool import Pool
from ncalab.train.position import Position

CALLBACKS = "callbacks"
"""Key of the states of a user's callbacks, in the state of a training that has some."""


@dataclass
class TrainingState:
    """State of a training.

    Attributes:
        nca: Model to train.
        settings: What the run is trained with, by name.
        optimizers: Optimiser of the model, and that of its head if it has one of its own.
        scheduler: Schedule of the learning rate.
        average: Average of the weights, if one is kept.
        pool: Pool of states, if there is one.
        history: History of the training.
        step: Steps of the optimisers, their number and the time they have taken.
        position: Place in the epoch.
        callbacks: Callbacks; those of the user and early stopping have a state.
        lr: Learning rate when the epoch began.
        losses: Loss terms of the epoch so far.
    """

    nca: AbstractNCAModel
    settings: Fingerprint
    optimizers: Sequence[Optimizer]
    scheduler: LRScheduler
    average: AveragedModel | None
    pool: Pool | None
    history: TrainingHistory
    step: OptimizerStep
    position: Position
    callbacks: LoopCallbacks
    lr: float
    losses: LossSums = field(default_factory=LossSums)

    def averaged_model(self) -> AbstractNCAModel:
        """Return the model with averaged weights, or the trained model if no average is kept."""
        model = self.nca if self.average is None else self.average.module
        if not isinstance(model, AbstractNCAModel):
            raise TypeError(f"averaged model must be an NCA model, got {type(model).__name__}")
        return model

    def state_dict(self) -> dict[str, Any]:
        """Return the state as data for a checkpoint."""
        stop, users = self.callbacks.early_stop, self.callbacks.users.state_dict()
        return {
            "settings": self.settings,
            "model": self.nca.state_dict(),
            "best": self.history.best_weights,
            "average": None if self.average is None else self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scheduler": self.scheduler.state_dict(),
            "pool": None if self.pool is None else self.pool.state_dict(),
            "early_stopping": None if stop is None else stop.stopping.state_dict(),
            "history": self.history.to_dict(),
            "epoch": self.history.current_epoch,
            "steps": self.step.taken,
            "lr": self.lr,
            "seconds": self.step.budget.seconds(),
            **self.position.state_dict(),
            **self.losses.state_dict(),
            **({CALLBACKS: users} if users else {}),
        }

    def check_state_dict(self, state: dict[str, Any], path: Path) -> None:
        """Raise unless a state is that of this model and configuration.

        Args:
            state: What :meth:`state_dict` of the saved training returned.
            path: File that holds it, for the error.

        Raises:
            ValueError: If it is that of another model or configuration, or lacks something.
        """
        # Runs without callbacks have no state of them.
        if missing := sorted(self.state_dict().keys() - state.keys() - {CALLBACKS}):
            raise ValueError(f"{path} is a damaged checkpoint: it lacks {', '.join(missing)}")
        if found := differences(state["settings"], self.settings):
            raise ValueError(
                f"model_path must hold a run of the same model and settings to resume, got "
                f"{path.parent} with others ({'; '.join(found)})"
            )
        check_weights(self.nca, state["model"], path)
        if state["best"] is not None:
            check_weights(self.nca, state["best"], path)
        if self.average is not None:
            check_weights(self.average, state["average"], path)
        own = len(self.position.generators)
        if (held := len(state["random"]["generators"])) != own:
            raise ValueError(
                "dataloaders and pool must have as many generators of their own as when the run "
                f"was saved, {held}, to resume, got {own}"
            )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned; users' callbacks are restored by the loop."""
        self.nca.load_state_dict(state["model"])
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
            # Or a schedule whose first step comes next would warn that it comes too early.
            optimizer._opt_called = state["steps"] > 0  # type: ignore[attr-defined]  # torch's own
        restore_scheduler(self.scheduler, state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
            self.history.average_weights = self.averaged_model().state_dict()
        if self.pool is not None:
            self.pool.load_state_dict(state["pool"], device=self.nca.device)
        if self.callbacks.early_stop is not None and state["early_stopping"] is not None:
            self.callbacks.early_stop.stopping.load_state_dict(state["early_stopping"])
        self.history.restore(state["history"], state["best"])
        self.step.budget.restart(state["seconds"])
        self.lr, self.step.taken = state["lr"], state["steps"]
        self.losses.load_state_dict(state, self.nca.device)
        self.position.load_state_dict(state)
