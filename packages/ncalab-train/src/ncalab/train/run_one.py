"""Run one of several trainings in a folder of its own, unless it has finished there."""

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader

from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.guard import Guard
from ncalab.train.history import TrainingHistory
from ncalab.train.planned_training import CHECKPOINTS, RESULT_NAME, PlannedTraining, begin
from ncalab.train.result import TrainingResult, summarize, write_result
from ncalab.train.trainer import BasicNCATrainer
from ncalab.train.visuals import Visual

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Loaders = tuple[DataLoader[Any], DataLoader[Any] | None, DataLoader[Any] | None]


@dataclass(frozen=True)
class RunOptions:
    """Options of each of several trainings.

    Args:
        save_every: As in the trainer.
        earlystopping: Template; each training has a copy.
        plot_function: As in the trainer.
        tensorboard: Whether each writes a TensorBoard log into its folder.
    """

    save_every: int | None = None
    earlystopping: EarlyStopping | None = None
    plot_function: Visual | None = None
    tensorboard: bool = False


def train_one(
    trainer: BasicNCATrainer, loaders: Loaders, plan: PlannedTraining, options: RunOptions
) -> tuple[TrainingResult, TrainingHistory]:
    """Train to the end, and put the result beside the weights.

    Args:
        trainer: Trainer of the plan's folder.
        loaders: Training, validation and test data.
        plan: The plan.
        options: How to run it.

    Raises:
        KeyboardInterrupt: If the training was interrupted; it counts as not finished.
    """
    continuation = _continuation(plan)
    with _writer(plan, options) as writer:
        history = trainer.train(
            *loaders,
            save_every=options.save_every,
            summary_writer=writer,
            plot_function=options.plot_function,
            earlystopping=deepcopy(options.earlystopping),
            **continuation,
        )
    if history.interrupted:
        raise KeyboardInterrupt
    result = summarize(history)
    if plan.folder is not None:
        write_result(plan.folder / RESULT_NAME, result)
    return result, history


def _continuation(plan: PlannedTraining) -> dict[str, Any]:
    """Return arguments to resume an interrupted training, or to start one."""
    begun = begin(plan)
    if plan.folder is not None and any(plan.folder.glob(CHECKPOINTS)):
        return {"resume": True}
    return {"overwrite": begun}


@contextmanager
def _writer(plan: PlannedTraining, options: RunOptions) -> "Iterator[SummaryWriter | None]":
    """Open a log in the run folder, if one is wanted; one that fails does not end the training."""
    guard, writer = Guard(), None
    if options.tensorboard and plan.folder is not None:
        from torch.utils.tensorboard import SummaryWriter

        with guard("TensorBoard log"):
            writer = SummaryWriter(str(plan.folder / "tensorboard"))
    try:
        yield writer
    finally:
        with guard("TensorBoard log"):
            if writer is not None:
                writer.close()
