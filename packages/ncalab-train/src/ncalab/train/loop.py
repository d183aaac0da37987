"""The training loop: epochs, groups of batches, and the order of what is done in each."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, Prediction, unwrap
from ncalab.core.fire import draw_seed
from ncalab.train.averaging import make_average
from ncalab.train.batches import BatchPreparation, PreparedBatch
from ncalab.train.budget import Budget
from ncalab.train.callbacks import BatchResult, EpochResult, LoopCallbacks, Status
from ncalab.train.config import TrainingConfig
from ncalab.train.distributed import BatchShard, SingleProcess
from ncalab.train.epoch_values import read_epoch
from ncalab.train.fingerprint import Fingerprint
from ncalab.train.health import CellStatistics
from ncalab.train.history import TrainingHistory
from ncalab.train.metrics import deciding_value
from ncalab.train.optimizer_step import OptimizerStep, check_trained
from ncalab.train.pool import Pool
from ncalab.train.position import Position
from ncalab.train.preflight import number_of_batches
from ncalab.train.run_folder import prepare_folder
from ncalab.train.training_state import CALLBACKS, TrainingState

logger = logging.getLogger(__name__)

Iterate = Callable[[OptimizerStep, Tensor, Tensor, int], tuple[Prediction, dict[str, Tensor]]]
"""Trains on a batch: takes the step, states, labels, and the number of batches before."""

_Trained = tuple[PreparedBatch, int, Prediction, dict[str, Tensor]]


class TrainingLoop:
    """Train over epochs and batches.

    Between two groups of batches, the state of a training is whole: that is where it is saved, and
    where Ctrl-C takes effect.

    Args:
        nca: Model to train.
        config: Settings.
        settings: What the run is trained with, by name, for its checkpoint.
        train: Training data.
        val: Validation data, if there are any.
        pool: Pool of states, if there is one.
        optimizers: Optimiser of the model, and that of its head if it has one of its own.
        scheduler: Schedule of the learning rate.
        generators: Generators that loaders and pool draw from, beside the global ones.
        processes: Processes that share the work.
        history: History of the training.
        iterate: Trains on one batch.
        callbacks: What is done beside the steps.
    """

    def __init__(
        self,
        *,
        nca: AbstractNCAModel,
        config: TrainingConfig,
        settings: Fingerprint,
        train: DataLoader[Any],
        val: DataLoader[Any] | None,
        pool: Pool | None,
        optimizers: Sequence[Optimizer],
        scheduler: LRScheduler,
        generators: Sequence[torch.Generator],
        processes: SingleProcess,
        history: TrainingHistory,
        iterate: Iterate,
        callbacks: LoopCallbacks,
    ) -> None:
        self.nca, self.config, self.settings, self.history = nca, config, settings, history
        self.train, self.val = train, val
        self.processes, self.iterate, self.callbacks = processes, iterate, callbacks
        self.interrupts, self.checkpointing = callbacks.interrupts, callbacks.checkpointing
        self.recorders, self.observers = callbacks.recorders, callbacks.observers
        self.status: Status = "running"
        self.budget = Budget(config.max_epochs, config.max_minutes)
        self.step = OptimizerStep(nca, config, optimizers, processes, self.budget)
        self.preparation = BatchPreparation(nca, config.batch_repeat, pool, processes)
        warming = (lambda: self.step.taken) if config.ema_warmup else None
        self.state = TrainingState(
            nca=nca,
            settings=settings,
            optimizers=self.step.optimizers,
            scheduler=scheduler,
            average=make_average(nca, config.ema_decay, warming),
            pool=pool,
            history=history,
            step=self.step,
            position=Position(generators),
            callbacks=callbacks,
            lr=config.lr,
        )
        self.position, self.losses = self.state.position, self.state.losses
        self._last: Prediction | None = None
        self._stopped = False
        # Without it, how much of an epoch is done is not known.
        self._epoch_length = number_of_batches(train) or 0

    # What callbacks see and do

    @property
    def batches(self) -> int:
        """Number of batches done in the current epoch."""
        return self.position.batches

    @property
    def iterations(self) -> int:
        """Number of batches done in the whole training."""
        return self.position.iterations

    def averaged_model(self) -> AbstractNCAModel:
        """Return the model with averaged weights, or the trained model if no average is kept."""
        return self.state.averaged_model()

    def stop(self) -> None:
        """End the training after the current epoch; it is saved."""
        self._stopped = True

    def save(self) -> None:
        """Save the run as it is now; without a run folder, nothing."""
        if self.checkpointing.write(self):
            self.observers.on_save(self)

    def end(self) -> None:
        """Call the callbacks at the end of the training."""
        self.recorders.on_end(self)
        self.observers.on_end(self)

    def prepare_folder(self, *, resume: bool, overwrite: bool) -> None:
        """Make sure that the run folder can be written, and resume the run in it if there is one.

        Args:
            resume: Whether to resume the run that the folder holds.
            overwrite: Whether that run may be replaced.
        """
        folder, size = unwrap(self.history.path), self.checkpointing.size(self)
        is_run = prepare_folder(folder, resume=resume, overwrite=overwrite, size=size)
        # No process writes before all have looked.
        self.processes.wait()
        if not is_run:
            return
        state = self.checkpointing.resume(self)
        if self.processes.is_main:
            self.callbacks.users.load_state_dict(state.get(CALLBACKS, {}))

    # From the start to the last epoch

    def train_epochs(self) -> None:
        """Train from where the training stands to its last epoch."""
        self.recorders.on_start(self)
        self.observers.on_start(self)
        for number in self._epochs():
            if self.processes.mean(self._stopped) > 0:
                logger.info("stopped early after epoch %d", number - 1)
                return
            self._train_epoch(number)

    def _epochs(self) -> Iterator[int]:
        """Count the epochs that are left, from 1, up to the limit or while there is time.

        There is a first epoch, of one batch at least, however little time there is.
        """
        if self.config.max_minutes is None:
            yield from range(self.history.current_epoch + 1, self.config.max_epochs + 1)
            return
        while not (self._is_out_of_time() and self.history.current_epoch):
            yield self.history.current_epoch + 1

    def _measure_progress(self) -> None:
        """Measure how much of the training is done; all processes agree on it."""
        seconds = self.budget.seconds()
        if self.budget.minutes is not None:
            seconds = self.processes.mean(seconds)
        share = self.batches / self._epoch_length if self._epoch_length else 0.0
        self.budget.measure(self.history.current_epoch + share, seconds)

    def _is_out_of_time(self) -> bool:
        """Measure the progress, and return whether the minutes of the training are over."""
        self._measure_progress()
        return self.budget.is_spent()

    # One epoch

    def _train_epoch(self, number: int) -> None:
        """Train on all batches, validate and record the metrics."""
        start = time.perf_counter()
        self.recorders.on_epoch_start(self, number)
        self.observers.on_epoch_start(self, number)
        if not self.batches:
            self._measure_progress()
            self.state.lr = self.step.lr()
        self._train_on_all_batches(number)
        losses, cells = self._read_epoch(number)
        metrics = None if self.val is None else self.measure(self.averaged_model(), self.val)
        self.interrupts.hold()
        value = deciding_value(self.nca, losses, metrics)
        self.step.torn = True
        self._step_scheduler(after="epoch", value=value)
        seconds, due = time.perf_counter() - start, self.checkpointing.is_due(number)
        epoch = EpochResult(
            number, losses, metrics or {}, value, self.state.lr, seconds, cells, save_due=due
        )
        self.recorders.on_epoch_end(self, epoch)
        self.position.start_epoch()
        self.losses.clear()
        self.step.torn = False
        self.interrupts.release()
        self.observers.on_epoch_end(self, epoch)

    def _train_on_all_batches(self, number: int) -> None:
        self.nca.train()
        self.step.monitor.reset()
        self.processes.start_epoch()
        shards = self.position.shards(self.train, self.processes, number)
        while group := list(itertools.islice(shards, 1)):
            if self.batches and self._is_out_of_time():
                break
            self.interrupts.hold()
            group += itertools.islice(shards, self.config.accumulate - 1)
            results = self._train_on_group(group)
            if self.history.path is not None:
                self.position.capture()
            self.step.torn = False
            self.interrupts.release()
            for result in results:
                self.observers.on_batch_end(self, result)
        if not self.batches:
            raise ValueError("dataloader_train must yield at least one batch, got none")

    def _step_scheduler(
        self, *, after: Literal["batch", "epoch"], value: float | None = None
    ) -> None:
        """Step the schedule where it is due; a plateau is one of the deciding value of epochs."""
        scheduler = self.state.scheduler
        if isinstance(scheduler, ReduceLROnPlateau):
            if value is not None:
                scheduler.step(value)
        elif self.config.scheduler_interval == after:
            scheduler.step()

    # One step

    def _train_on_group(self, shards: list[BatchShard]) -> list[BatchResult]:
        """Take one optimiser step on one or several batches; none are returned if it is skipped."""
        first = self.iterations
        self.step.start(len(shards), number=self.batches + len(shards))
        done = [self._train_on_batch(shard, i) for i, shard in enumerate(shards, first)]
        taken = self.step.end()
        results = [self.preparation.conclude(*each) for each in done] if taken else []
        self.position.advance(len(shards))
        if not taken:
            self.history.skipped_steps += 1
            logger.warning("skipped step %d: loss or gradients not finite", self.iterations)
            return []
        for result in results:
            self._last = result.prediction
            self.losses.add(result.losses)
            self.recorders.on_batch_end(self, result)
        if self.state.average is not None:
            self.state.average.update_parameters(self.nca)
        self._step_scheduler(after="batch")
        return results

    def _train_on_batch(self, shard: BatchShard, iteration: int) -> _Trained:
        """Prepare a batch and train on it."""
        batch = self.preparation.prepare(shard)
        self.step.begin(batch)
        with self.processes.drawing():
            trained = self.iterate(self.step, batch.x, batch.y, iteration)
        prediction, losses = check_trained(trained)
        return batch, iteration, prediction, losses

    # Values of an epoch

    def measure(self, nca: AbstractNCAModel, loader: DataLoader[Any]) -> dict[str, float]:
        """Return the metrics of a model; no prediction is kept."""
        return self.processes.validate(nca, loader, itertools.count(draw_seed() // 2))

    def _read_epoch(self, number: int) -> tuple[dict[str, float], CellStatistics]:
        """Return the mean of each loss term, and statistics of the cells.

        Raises:
            RuntimeError: If a step was not finite.
        """
        last_good = self.checkpointing.last_good()
        if not self.losses.counts:
            raise RuntimeError(
                f"loss must be finite in some step of an epoch, got none in epoch {number}; "
                f"{last_good}"
            )
        states = None if self._last is None else self._last.output_image
        try:
            return read_epoch(self.losses, self.step.monitor, self.nca, states)
        except FloatingPointError as error:
            raise RuntimeError(f"{error} in epoch {number}; {last_good}") from error

    def check_finite(self) -> None:
        """Raise a RuntimeError if a step of the current epoch was not finite."""
        if self.losses.counts:
            self._read_epoch(self.history.current_epoch + 1)
