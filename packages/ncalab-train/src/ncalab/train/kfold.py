"""Cross-validation: the same training on every fold, each from the same weights."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from ncalab.core import DEFAULT_RANDOM_SEED, AbstractNCAModel, unwrap
from ncalab.core.checks import check_flag, check_int
from ncalab.core.saving import PathLike
from ncalab.train.cross_validation import CrossValidation, CrossValidationError, read_history
from ncalab.train.describe import describe
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.executors import Failure, Outcome, run_all
from ncalab.train.fold import (
    TrainValRecord,
    Transform,
    Transforms,
    check_batch_sizes,
    split_transforms,
)
from ncalab.train.history import TrainingHistory
from ncalab.train.planned_training import NOT_IDENTITY, PlannedTraining, discard, open_folders
from ncalab.train.run_one import RunOptions, train_one
from ncalab.train.seeds import derived_seed, rewound, seeded
from ncalab.train.split import SplitDefinition
from ncalab.train.trainer import BasicNCATrainer
from ncalab.train.visuals import Visual

logger = logging.getLogger(__name__)

INITIAL_NAME = "initial_model.safetensors"


@dataclass(frozen=True)
class _Folds:
    """The trainer, data and options that the trainings of all folds share."""

    trainer: BasicNCATrainer
    dataset_type: Callable[..., Dataset[Any]]
    datapath: Path
    transforms: dict[str, Transform | None]
    batch_sizes: dict[str, int]
    num_workers: int
    dataloader_test: DataLoader[Any] | None
    options: RunOptions


class KFoldCrossValidationTrainer:
    """Train a copy of a model on each fold of a split.

    Every fold starts from the weights that the trainer's model has when this object is made. That
    model is left as it is.

    Args:
        trainer: Its settings are those of each fold's trainer. Its ``model_path`` becomes the
            folder of the folds' run folders, ``fold_00`` and so on.
        split: The folds.

    Attributes:
        trainer: The trainer.
        model_prototype: Copy of its model: where every fold starts.
        model_name: Name of the run folder, else of the model's class.
        split: The split.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If there are no folds, or the trainer has a scheduler of its own model's
            optimiser: give it a function that makes one.
    """

    def __init__(self, trainer: BasicNCATrainer, split: SplitDefinition) -> None:
        if not isinstance(trainer, BasicNCATrainer):
            raise TypeError(f"trainer must be a BasicNCATrainer, got {type(trainer).__name__}")
        if not isinstance(split, SplitDefinition):
            raise TypeError(f"split must be a SplitDefinition, got {type(split).__name__}")
        if not len(split):
            raise ValueError("split must have at least one fold, got none")
        self.trainer = trainer
        self.split = split
        self.model_prototype = deepcopy(trainer.nca)
        path = trainer.model_path
        self.model_name = type(trainer.nca).__name__ if path is None else path.name
        trainer.clone_for(self.model_prototype, None)  # raises if there can be no second

    def train(
        self,
        DatasetType: Callable[..., Dataset[Any]],  # noqa: N803 - the documented name
        datapath: PathLike,
        transform: Transforms | None,
        batch_sizes: Mapping[str, int] | None = None,
        save_every: int | None = None,
        *,
        plot_function: Visual | None = None,
        earlystopping: EarlyStopping | None = None,
        executor: Executor | None = None,
        seed: int = DEFAULT_RANDOM_SEED,
        num_workers: int = 0,
        threads: int = 1,
        tensorboard: bool = False,
        overwrite: bool = False,
        progress: bool = True,
    ) -> CrossValidation:
        """Train and validate all folds.

        A fold that is finished in its folder is not trained again; one that was interrupted is
        resumed. The caller's random generators are left alone.

        Args:
            DatasetType: Called as ``DatasetType(datapath, files, transform)``, for the training
                and for the validation files of each fold.
            datapath: Folder of the files.
            transform: Transform of the training data; validation data then have none. Or one for
                each: a mapping with the keys "train" and "val", or a pair (train, val).
            batch_sizes: Batch sizes under "train" and "val", 8 where left out.
            save_every: As in the trainer.
            plot_function: Draws a training batch for TensorBoard; the model's own visual if None.
            earlystopping: Template; each fold has a copy of it as it is now.
            executor: Where to train the folds, any ``concurrent.futures.Executor``; None for one
                after the other. The results are the same to the bit. Folders must be reachable
                for its workers.
            seed: Seed of all folds, at least 0; each has its own, derived from it.
            num_workers: Number of processes that load data, for each loader.
            threads: torch's threads for each training. It is part of the result, to the last bits.
            tensorboard: Whether each fold writes a TensorBoard log into its folder.
            overwrite: Whether to train all folds again and replace what is in their folders.
            progress: Whether to show a bar over the folds, or lines where standard error
                is not a terminal.

        Returns:
            The histories, one for each fold, as a list that knows means and deviations.

        Raises:
            TypeError: If an argument has another type, or cannot be sent to the executor.
            ValueError: If an argument is out of its range, or the folder holds other trainings.
            CrossValidationError: If a fold failed, after all others are trained.
        """
        check_int("threads", threads, minimum=1)
        check_flag("tensorboard", tensorboard)
        check_flag("overwrite", overwrite)
        if tensorboard and self.trainer.model_path is None:
            raise ValueError("tensorboard must be False without a model_path, got True")
        shared = _Folds(
            trainer=self.trainer.clone_for(deepcopy(self.model_prototype), None),
            dataset_type=DatasetType,
            datapath=Path(datapath),
            transforms=split_transforms(transform),
            batch_sizes=check_batch_sizes(batch_sizes),
            num_workers=check_int("num_workers", num_workers, minimum=0),
            dataloader_test=self.split.dataloader_test,
            options=RunOptions(save_every, deepcopy(earlystopping), plot_function, tensorboard),
        )
        if executor is not None:
            shared.trainer.progress = False  # the bars of several folds would write over each other
        plans = [self._plan(index, seed, shared) for index in range(len(self.split))]
        finished, todo = open_folders(self.trainer.model_path, plans, overwrite=overwrite)
        initial = self._initial_path()
        if initial is not None and initial.exists() and not overwrite:
            _take_weights(shared.trainer.nca, initial)
        histories = {
            index: read_history(unwrap(plans[index].folder), shared.trainer.nca)
            for index in finished
        }
        outcomes = run_all(
            _train_fold,
            shared,
            todo,
            executor=executor,
            threads=threads,
            label="fold",
            progress=progress,
        )
        # All that could be refused has been: from here on, folders are changed.
        if initial is not None:
            shared.trainer.nca.save(initial)
        if overwrite:
            discard(todo)
        failures = _collect(outcomes, todo, histories)
        if failures:
            raise CrossValidationError(failures, histories)
        return CrossValidation([histories[index] for index in range(len(plans))])

    def _plan(self, index: int, seed: int, shared: _Folds) -> PlannedTraining:
        base, fold = self.trainer.model_path, self.split[index]
        fold_seed = derived_seed(seed, index)
        identity = {
            "fold": index,
            "seed": fold_seed,
            "model": None if base is None else shared.trainer.nca.to_dict(),
            "trainer": {
                k: v for k, v in shared.trainer.settings().items() if k not in NOT_IDENTITY
            },
            "dataset": shared.dataset_type,
            "transforms": shared.transforms,
            "batch_sizes": shared.batch_sizes,
            "earlystopping": shared.options.earlystopping,
            "files": {"train": fold.train, "val": fold.val},
        }
        folder = None if base is None else base / f"fold_{index:02d}"
        return PlannedTraining(index, fold_seed, folder, describe(identity), {"fold": fold})

    def _initial_path(self) -> Path | None:
        base = self.trainer.model_path
        return None if base is None else base / INITIAL_NAME


def _take_weights(nca: AbstractNCAModel, path: Path) -> None:
    """Start from the weights that the folds before started from."""
    before = {name: value.clone() for name, value in nca.state_dict().items()}
    nca.load(nca, path)
    if any(not torch.equal(before[name], value) for name, value in nca.state_dict().items()):
        logger.warning("the model has other weights than %s: folds start from the file's", path)


def _train_fold(shared: _Folds, plan: PlannedTraining) -> TrainingHistory:
    """Train one fold; the shared prototype stays as it is."""
    fold: TrainValRecord = plan.arguments["fold"]
    with seeded(plan.seed), rewound([shared.dataloader_test]):
        trainer = shared.trainer.clone_for(deepcopy(shared.trainer.nca), plan.folder)
        train, val = fold.dataloaders(
            shared.dataset_type,
            shared.datapath,
            shared.transforms,
            shared.batch_sizes,
            num_workers=shared.num_workers,
        )
        loaders = (train, val, shared.dataloader_test)
        return train_one(trainer, loaders, plan, shared.options)[1]


def _collect(
    outcomes: Iterable[Outcome[TrainingHistory]],
    plans: Sequence[PlannedTraining],
    histories: dict[int, TrainingHistory],
) -> dict[int, Failure]:
    """Add the histories of folds as they end; return the failures."""
    failures: dict[int, Failure] = {}
    for outcome in outcomes:
        index = plans[outcome.index].index
        if outcome.result is not None:
            histories[index] = outcome.result
            logger.info("fold %d: best value %.6g", index, outcome.result.best_accuracy)
        elif outcome.failure is not None:
            failures[index] = outcome.failure
            logger.error("fold %d failed: %s", index, outcome.failure.details)
    return failures
