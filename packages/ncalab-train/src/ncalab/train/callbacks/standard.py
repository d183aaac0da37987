"""The callbacks of a training: those that each has, and those that the user asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel
from ncalab.train.callbacks.callback import Callback
from ncalab.train.callbacks.calling import CallbackList, UserCallbacks
from ncalab.train.callbacks.checkpointing import Checkpointing
from ncalab.train.callbacks.figures import make_figures
from ncalab.train.callbacks.on_epoch import EpochFunction, OnEpoch
from ncalab.train.callbacks.progress import Progress
from ncalab.train.callbacks.recording import EarlyStop, HealthWarnings, HistoryRecorder
from ncalab.train.callbacks.tensorboard import TensorBoardLogger
from ncalab.train.config import TrainingConfig
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.guard import Guard
from ncalab.train.interrupts import HeldInterrupts
from ncalab.train.preflight import number_of_batches
from ncalab.train.visuals import Estimator, Visual

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class Requests:
    """Requests for logs, figures and saves; the arguments of ``train`` of these names.

    Attributes:
        model_path: Run folder; None to save nothing.
        info: Description of the training for TensorBoard, in Markdown.
        higher_is_better: Direction of the deciding value.
    """

    save_every: int | None
    summary_writer: "SummaryWriter | None"
    plot_function: Visual | None
    earlystopping: EarlyStopping | None
    uncertainty: Estimator | None
    on_epoch: OnEpoch | None
    callbacks: Sequence[Callback]
    model_path: Path | None
    info: str
    higher_is_better: bool


@dataclass(frozen=True)
class LoopCallbacks:
    """The callbacks of a training.

    Attributes:
        recorders: Called at the end of an epoch while its state is assembled, Ctrl-C held back.
        observers: Called when the state is whole: they may take long, or fail.
        early_stop: Stops the training early; None without early stopping.
        users: Callbacks of the user, which are among the observers.
        checkpointing: Saves the run; among the observers.
        progress: Shows the progress; among the recorders if it is enabled.
        interrupts: Holds Ctrl-C back.
    """

    recorders: CallbackList
    observers: CallbackList
    early_stop: EarlyStop | None
    users: UserCallbacks
    checkpointing: Checkpointing
    progress: Progress
    interrupts: HeldInterrupts


def make_callbacks(
    requests: Requests,
    nca: AbstractNCAModel,
    config: TrainingConfig,
    train: DataLoader[Any],
    val: DataLoader[Any] | None,
    generators: Sequence[torch.Generator],
    *,
    is_main: bool,
) -> LoopCallbacks:
    """Return the callbacks of a training.

    Args:
        requests: What is asked for.
        nca: Model to train.
        config: Settings.
        train: Training data.
        val: Validation data, if there are any.
        generators: Generators that loaders and pool draw from, beside the global ones.
        is_main: Whether this process writes and shows; of several, one does.
    """
    guard, interrupts = Guard(), HeldInterrupts()
    stopping, writer, function = requests.earlystopping, requests.summary_writer, requests.on_epoch
    higher = requests.higher_is_better
    early_stop = None if stopping is None else EarlyStop(stopping, higher_is_better=higher)
    board = None
    if writer is not None and is_main:
        board = TensorBoardLogger(writer, guard, requests.info)
    progress = Progress(
        enabled=config.progress and is_main,
        epochs=config.max_epochs if config.max_minutes is None else None,
        batches=number_of_batches(train),
        guard=guard,
    )
    warmup = config.warmup_steps * config.accumulate
    recorders = CallbackList(
        [
            HistoryRecorder(),
            HealthWarnings(validated=val is not None, warmup=warmup) if is_main else None,
            early_stop,
            board,
            progress if progress.enabled else None,
            EpochFunction(function, guard) if function is not None and is_main else None,
        ]
    )
    users = UserCallbacks(requests.callbacks if is_main else (), generators)
    checkpointing = Checkpointing(
        requests.model_path, requests.save_every, interrupts, writes=is_main
    )
    visual, estimator = requests.plot_function, requests.uncertainty
    figures = make_figures(nca, board, visual, estimator, val, guard, generators)
    observers = CallbackList([users, checkpointing, *figures])
    return LoopCallbacks(
        recorders, observers, early_stop, users, checkpointing, progress, interrupts
    )
