"""Search: one training for each combination of parameters, or for some of them."""

import logging
from collections.abc import Callable
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from ncalab.core import DEFAULT_RANDOM_SEED, AbstractNCAModel
from ncalab.core.argument_types import check_callable
from ncalab.core.checks import check_device, check_flag, check_int
from ncalab.core.saving import atomic_write
from ncalab.train.arguments import check_arguments
from ncalab.train.describe import describe, describe_loaders
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.executors import run_all
from ncalab.train.parameters import ParameterSet
from ncalab.train.planned_training import NOT_IDENTITY, PlannedTraining, discard, open_folders
from ncalab.train.result import TrainingResult
from ncalab.train.run_one import RunOptions, train_one
from ncalab.train.seeds import derived_seed, rewound, seeded
from ncalab.train.trainer import BasicNCATrainer
from ncalab.train.trial_table import Trial, trial_table
from ncalab.train.visuals import Visual

if TYPE_CHECKING:
    import pandas as pd

logger = logging.getLogger(__name__)

TABLE_NAME = "trials.csv"


@dataclass(frozen=True)
class _Search:
    """The model class, data and options that all trials share."""

    model_class: Callable[..., AbstractNCAModel]
    device: torch.device
    dataloader_train: DataLoader[Any]
    dataloader_val: DataLoader[Any] | None
    options: RunOptions


class ParameterSearch:
    """Train a model for each combination of model parameters and trainer parameters.

    Args:
        device: Where to train.
        model_class: Class of the models, called as ``model_class(device, **parameters)``.
        model_params: Parameters of the model.
        trainer_params: Parameters of :class:`BasicNCATrainer`. With a ``model_path``, each trial
            writes its run folder into that folder: ``trial_0000`` and so on, numbered as in the
            whole grid.
        num_trials: Number of combinations to draw at random, all if None. With the same seed, a
            larger number draws the same ones and more.
        seed: Seed of that draw and of all trials, at least 0; each trial has its own, derived
            from it.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If a name is not that of a parameter, a parameter is in both sets, or
            ``model_path`` is a list.
    """

    def __init__(
        self,
        device: torch.device | str,
        model_class: Callable[..., AbstractNCAModel],
        model_params: ParameterSet,
        trainer_params: ParameterSet,
        *,
        num_trials: int | None = None,
        seed: int = DEFAULT_RANDOM_SEED,
    ) -> None:
        for name, given in (("model_params", model_params), ("trainer_params", trainer_params)):
            if not isinstance(given, ParameterSet):
                raise TypeError(f"{name} must be a ParameterSet, got {type(given).__name__}")
        self.device = check_device("device", device)
        check_callable("model_class", model_class)
        self.model_class = model_class
        self.model_params = model_params
        self.trainer_params = trainer_params
        self.num_trials = num_trials
        if num_trials is not None:
            check_int("num_trials", num_trials, minimum=1)
        self.seed = check_int("seed", seed, minimum=0)
        if both := sorted(set(model_params.params) & set(trainer_params.params)):
            raise ValueError(f"model_params and trainer_params must share no name, got {both}")
        check_arguments("model_params", model_class, model_params[0], self.device)
        trainer = {"model_path": None, **trainer_params[0]}
        check_arguments("trainer_params", BasicNCATrainer, trainer, None)
        self.model_path = _base_folder(trainer_params)
        if "validation_metric" in model_params.mutable:
            raise ValueError("validation_metric must be fixed: it ranks the trials, got a list")

    def trials(self) -> list[int]:
        """Return the numbers of the combinations to train, in the order of the grid."""
        count = self.model_params.num_combinations() * self.trainer_params.num_combinations()
        if self.num_trials is None or self.num_trials >= count:
            return list(range(count))
        random = Random(self.seed)
        drawn: set[int] = set()
        while len(drawn) < self.num_trials:
            drawn.add(random.randrange(count))
        return sorted(drawn)

    def parameters(self, trial: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return model parameters and trainer parameters of a trial, without the model path."""
        model, trainer = divmod(trial, self.trainer_params.num_combinations())
        chosen = self.trainer_params[trainer]
        chosen.pop("model_path", None)
        return self.model_params[model], chosen

    def trial_folder(self, trial: int) -> Path | None:
        """Return the run folder of a trial; None if nothing is written."""
        return None if self.model_path is None else self.model_path / f"trial_{trial:04d}"

    def info(self) -> str:
        """Describe the search in Markdown.

        Returns:
            Number of trials, and tables of all parameters.
        """
        count = self.model_params.num_combinations() * self.trainer_params.num_combinations()
        name = getattr(self.model_class, "__name__", str(self.model_class))
        chosen = count if self.num_trials is None else min(self.num_trials, count)
        return "\n".join(
            [
                f"### Search: {name} on {self.device}",
                "",
                f"{chosen} of {count} combinations, seed {self.seed}",
                "",
                f"#### Model: {self.model_params.info()}",
                "",
                f"#### Trainer: {self.trainer_params.info()}",
            ]
        )

    def search(
        self,
        dataloader_train: DataLoader[Any],
        dataloader_val: DataLoader[Any] | None = None,
        *,
        save_every: int | None = None,
        earlystopping: EarlyStopping | None = None,
        plot_function: Visual | None = None,
        executor: Executor | None = None,
        threads: int = 1,
        tensorboard: bool = False,
        overwrite: bool = False,
        progress: bool = True,
    ) -> "pd.DataFrame":
        """Train all trials that are not finished in their folders.

        The caller's random generators are left alone, and those of the loaders are put back after
        each trial, so that all trials see the same batches. With a ``model_path``, the table is
        also written to ``trials.csv``.

        Args:
            dataloader_train: Yields (images or states, labels).
            dataloader_val: Validation data, as pairs of the same kind. Without them, trials are
                compared by their training loss.
            save_every: As in the trainer.
            earlystopping: Template; each trial has a copy of it as it is now.
            plot_function: As in the trainer.
            executor: Where to train, any ``concurrent.futures.Executor``; None for one trial after
                the other. The table is the same to the bit. Folders must be reachable for its
                workers.
            threads: torch's threads for each trial. It is part of the result, to the last bits.
            tensorboard: Whether each trial writes a TensorBoard log into its folder.
            overwrite: Whether to train all trials again and replace what is in their folders.
            progress: Whether to show a bar over the trials, or lines where standard error
                is not a terminal.

        Returns:
            A row for each trial, the best first: its number, the searched parameters, all metrics
            and the training loss of its best epoch, and why it failed, if it did ("" otherwise).

        Raises:
            TypeError: If an argument has another type, or cannot be sent to the executor.
            ValueError: If the folder holds other trainings.
            RuntimeError: If all trials failed.
        """
        check_int("threads", threads, minimum=1)
        check_flag("tensorboard", tensorboard)
        check_flag("overwrite", overwrite)
        if tensorboard and self.model_path is None:
            raise ValueError("tensorboard must be False without a model_path, got True")
        options = RunOptions(save_every, deepcopy(earlystopping), plot_function, tensorboard)
        shared = _Search(self.model_class, self.device, dataloader_train, dataloader_val, options)
        plans = [self._plan(trial, shared) for trial in self.trials()]
        finished, todo = open_folders(self.model_path, plans, overwrite=overwrite)
        trials = {index: Trial(result) for index, result in finished.items()}
        outcomes = run_all(
            _train_trial,
            shared,
            todo,
            executor=executor,
            threads=threads,
            label="trial",
            progress=progress,
        )
        if overwrite:  # all that could be refused has been
            discard(todo)
        for outcome in outcomes:
            plan = todo[outcome.index]
            trials[plan.index] = Trial(outcome.result, outcome.failure)
            self._log(plan, trials[plan.index])
        return self._table(plans, trials)

    def __call__(self, *args: Any, **kwargs: Any) -> "pd.DataFrame":
        """Run :meth:`search`."""
        return self.search(*args, **kwargs)

    def _plan(self, trial: int, shared: _Search) -> PlannedTraining:
        model_params, trainer_params = self.parameters(trial)
        seed = derived_seed(self.seed, trial)
        identity = {
            "trial": trial,
            "seed": seed,
            "model": self.model_class,
            "model_params": model_params,
            "trainer_params": {k: v for k, v in trainer_params.items() if k not in NOT_IDENTITY},
            "earlystopping": shared.options.earlystopping,
            "data": describe_loaders(shared.dataloader_train, shared.dataloader_val),
        }
        arguments = {"model_params": model_params, "trainer_params": trainer_params}
        return PlannedTraining(trial, seed, self.trial_folder(trial), describe(identity), arguments)

    def _searched(self, trial: int) -> dict[str, Any]:
        model_params, trainer_params = self.parameters(trial)
        return {
            **{name: model_params[name] for name in self.model_params.mutable},
            **{name: trainer_params[name] for name in self.trainer_params.mutable},
        }

    def _log(self, plan: PlannedTraining, trial: Trial) -> None:
        if trial.failure is not None:
            logger.error(
                "trial %d %s failed: %s",
                plan.index,
                self._searched(plan.index),
                trial.failure.details,
            )
        elif (result := trial.result) is not None:
            logger.info("trial %d: %s = %.6g", plan.index, result.metric, result.value)

    def _table(self, plans: list[PlannedTraining], trials: dict[int, Trial]) -> "pd.DataFrame":
        order = [plan.index for plan in plans]
        first = trials[order[0]]
        if all(trial.failure is not None for trial in trials.values()):
            reason = first.failure.error if first.failure else ""
            raise RuntimeError(
                f"all {len(order)} trials failed; trial {order[0]} "
                f"({self._searched(order[0])}) with {reason}"
            )
        table = trial_table({index: (self._searched(index), trials[index]) for index in order})
        if self.model_path is not None:
            atomic_write(self.model_path / TABLE_NAME, table.to_csv(index=False).encode())
        return table


def _base_folder(trainer_params: ParameterSet) -> Path | None:
    if "model_path" in trainer_params.mutable:
        raise ValueError("model_path must be one folder for all trials, got a list")
    path = trainer_params.params.get("model_path")
    return None if path is None else Path(path)


def _train_trial(shared: _Search, plan: PlannedTraining) -> TrainingResult:
    """Train one trial, on the loaders as they were before."""
    loaders = (shared.dataloader_train, shared.dataloader_val, None)
    with seeded(plan.seed), rewound(loaders):
        nca = shared.model_class(shared.device, **deepcopy(plan.arguments["model_params"]))
        # Bars of many trials would write over each other.
        settings = {"progress": False, **deepcopy(plan.arguments["trainer_params"])}
        trainer = BasicNCATrainer(nca, plan.folder, **settings)
        return train_one(trainer, loaders, plan, shared.options)[0]
