"""Trials of an Optuna study: parameters that it suggests, pruning, and any storage.

Needs the package optuna: ``pip install "ncalab-train[optuna]"``.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from ncalab.core import DEFAULT_RANDOM_SEED, AbstractNCAModel
from ncalab.core.argument_types import check_callable, check_path
from ncalab.core.checks import check_device, check_int, check_type
from ncalab.core.saving import PathLike
from ncalab.train.describe import describe, describe_loaders
from ncalab.train.early_stopping import EarlyStopping, check_stopping
from ncalab.train.executors import alone
from ncalab.train.metrics import higher_is_better
from ncalab.train.planned_training import NOT_IDENTITY, PlannedTraining, open_folders
from ncalab.train.run_one import RunOptions, train_one
from ncalab.train.seeds import derived_seed, rewound, seeded
from ncalab.train.trainer import BasicNCATrainer

if TYPE_CHECKING:
    import optuna

Parameters = Mapping[str, Any]
Suggest = Callable[["optuna.Trial"], tuple[Parameters, Parameters]]


class OptunaObjective:
    """Objective of a study: train a model on suggested parameters, return its best value.

    Pass it to ``study.optimize``. Several processes may share one study through its storage; each
    trial has its seed and its folder by its number in the study. After every epoch the value is
    reported, and a trial that the study's pruner gives up is ended and saved.

    Source: Akiba et al., Optuna: A Next-generation Hyperparameter Optimization Framework, KDD 2019,
    doi:10.1145/3292500.3330701.

    Args:
        device: Where to train.
        model_class: Class of the models, called as ``model_class(device, **parameters)``.
        suggest: Function of an ``optuna.Trial`` that returns two mappings: parameters of the model
            and parameters of :class:`BasicNCATrainer`.
        dataloader_train: Yields (images or states, labels).
        dataloader_val: Validation data, as pairs of the same kind. Without them, the value is the
            training loss.
        model_path: Folder of the run folders, ``trial_0000`` and so on; None to write nothing.
        seed: Seed of all trials, at least 0; each has its own, derived from it.
        save_every: As in the trainer.
        earlystopping: Template; each trial has a copy of it as it is now.
        threads: torch's threads for each trial. It is part of the result, to the last bits.

    Raises:
        ImportError: If optuna is not installed.
        TypeError: If an argument has another type.
        ValueError: If one is out of its range.

    >>> def suggest(trial):
    ...     return {"hidden_size": trial.suggest_int("hidden_size", 8, 64)}, {"max_epochs": 5}
    """

    def __init__(
        self,
        device: torch.device | str,
        model_class: Callable[..., AbstractNCAModel],
        suggest: Suggest,
        dataloader_train: DataLoader[Any],
        dataloader_val: DataLoader[Any] | None = None,
        *,
        model_path: PathLike | None = None,
        seed: int = DEFAULT_RANDOM_SEED,
        save_every: int | None = None,
        earlystopping: EarlyStopping | None = None,
        threads: int = 1,
    ) -> None:
        _import_optuna()
        self.device = check_device("device", device)
        for name, function in (("model_class", model_class), ("suggest", suggest)):
            check_callable(name, function)
        check_type("dataloader_train", dataloader_train, DataLoader)
        check_type("dataloader_val", dataloader_val, DataLoader, optional=True)
        check_type("earlystopping", earlystopping, EarlyStopping, optional=True)
        if save_every is not None:
            check_int("save_every", save_every, minimum=1)
        self.model_class = model_class
        self.suggest = suggest
        self.dataloader_train = dataloader_train
        self.dataloader_val = dataloader_val
        self.model_path = None if model_path is None else check_path("model_path", model_path)
        self.seed = check_int("seed", seed, minimum=0)
        self.save_every = save_every
        self.earlystopping = deepcopy(earlystopping)
        self.threads = check_int("threads", threads, minimum=1)

    def __call__(self, trial: "optuna.Trial") -> float:
        """Train one trial.

        Args:
            trial: Trial of a study whose direction is that of the deciding metric.

        Returns:
            Best value of the deciding metric; NaN, which a study counts as a failed trial, if it
            was undefined after every epoch.

        Raises:
            optuna.TrialPruned: If the study's pruner gave the trial up.
            ValueError: If the study goes in the other direction, or the folder holds another run.
        """
        model_params, trainer_params = self.suggest(trial)
        plan = self._plan(trial, model_params, trainer_params)
        loaders = (self.dataloader_train, self.dataloader_val, None)
        with alone(self.threads), seeded(plan.seed), rewound(loaders):
            nca = self.model_class(self.device, **deepcopy(dict(model_params)))
            direction = metric_direction(nca, validated=self.dataloader_val is not None)
            _check_direction(trial, direction)
            if self.earlystopping is not None:
                higher = direction == "maximize"
                check_stopping(self.earlystopping, higher_is_better=higher)
            settings = {"progress": False, **deepcopy(dict(trainer_params))}
            trainer = BasicNCATrainer(nca, plan.folder, **settings)
            pruning = PruningStopping(trial, self.earlystopping)
            result, _ = train_one(trainer, loaders, plan, RunOptions(self.save_every, pruning))
        trial.set_user_attr("best_epoch", result.best_epoch)
        trial.set_user_attr("metrics", result.metrics)
        if pruning.pruned:
            raise _import_optuna().TrialPruned(f"pruned after epoch {result.epochs}")
        return result.value

    def _plan(
        self, trial: "optuna.Trial", model_params: Parameters, trainer_params: Parameters
    ) -> PlannedTraining:
        if "model_path" in trainer_params:
            raise ValueError(
                "model_path must be given to OptunaObjective, not among trainer_params"
            )
        seed = derived_seed(self.seed, trial.number)
        identity = {
            "trial": trial.number,
            "seed": seed,
            "model": self.model_class,
            "model_params": dict(model_params),
            "trainer_params": {k: v for k, v in trainer_params.items() if k not in NOT_IDENTITY},
            "earlystopping": self.earlystopping,
            "data": describe_loaders(self.dataloader_train, self.dataloader_val),
        }
        base = self.model_path
        folder = None if base is None else base / f"trial_{trial.number:04d}"
        plan = PlannedTraining(trial.number, seed, folder, describe(identity), {})
        finished, _ = open_folders(base, [plan])
        if finished:
            raise ValueError(
                f"model_path must not hold a trial of another study, got {folder}; choose another "
                "folder, or continue that study from its storage"
            )
        return plan


class PruningStopping(EarlyStopping):
    """Report every epoch to a trial, and end the training when its study says so.

    Args:
        trial: Trial to report to.
        inner: Early stopping that may end the training as well.

    Attributes:
        pruned: Whether the study gave the trial up.
    """

    def __init__(self, trial: "optuna.Trial", inner: EarlyStopping | None) -> None:
        self.trial = trial
        self.inner = deepcopy(inner)
        super().__init__(patience=1)
        self.epochs = 0
        self.pruned = False

    def __deepcopy__(self, memo: dict[int, Any]) -> "PruningStopping":
        # One trial, one training: the objective must see its outcome.
        return self

    def step(self, accuracy: float) -> None:
        """Report an epoch."""
        self.epochs += 1
        self.trial.report(accuracy, self.epochs)
        self.pruned = self.trial.should_prune()
        if self.inner is not None:
            self.inner.step(accuracy)

    def reset(self, *, higher_is_better: bool = True) -> None:
        """Forget all epochs."""
        super().reset(higher_is_better=higher_is_better)
        if self.inner is not None:
            self.inner.reset(higher_is_better=higher_is_better)

    def done(self) -> bool:
        """Return whether to stop."""
        return self.pruned or (self.inner is not None and self.inner.done())


def metric_direction(nca: AbstractNCAModel, *, validated: bool = True) -> str:
    """Return the direction of a study: "maximize" or "minimize".

    Args:
        nca: A model of the kind to train.
        validated: Whether there are validation data; the training loss decides otherwise.
    """
    if not validated:
        return "minimize"
    return "maximize" if higher_is_better(nca) else "minimize"


def _check_direction(trial: "optuna.Trial", wanted: str) -> None:
    got = trial.study.direction.name.lower()
    if got != wanted:
        raise ValueError(
            f"study must have the direction of the deciding metric, {wanted}, got {got}; "
            f"create it with direction={wanted!r}"
        )


def _import_optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ImportError(
            'OptunaObjective needs the package optuna: pip install "ncalab-train[optuna]"'
        ) from error
    return optuna
