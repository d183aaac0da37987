"""The training loop: epochs and batches, and the state from which a training is resumed."""

import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, Prediction, unwrap
from ncalab.core.fire import draw_seed
from ncalab.core.saving import check_weights
from ncalab.train.averaging import make_average
from ncalab.train.batches import BatchPreparation, PreparedBatch
from ncalab.train.budget import Budget
from ncalab.train.callbacks import BatchResult, EpochResult, LoopCallbacks, Status
from ncalab.train.config import TrainingConfig
from ncalab.train.describe import differences
from ncalab.train.distributed import BatchShard, SingleProcess
from ncalab.train.fingerprint import Fingerprint
from ncalab.train.health import CellStatistics, measure_cells
from ncalab.train.history import TrainingHistory
from ncalab.train.optimizer_step import OptimizerStep, check_trained
from ncalab.train.optimizers import restore_scheduler
from ncalab.train.pool import Pool
from ncalab.train.position import LossSums, Position
from ncalab.train.preflight import number_of_batches
from ncalab.train.run_folder import prepare_folder

logger = logging.getLogger(__name__)

Iterate = Callable[[OptimizerStep, Tensor, Tensor, int], tuple[Prediction, dict[str, Tensor]]]
"""Trains on a batch: takes the step, states, labels, and the number of batches before."""

_Trained = tuple[PreparedBatch, int, Prediction, dict[str, Tensor]]

CALLBACKS = "callbacks"
"""Key of the states of a user's callbacks, in the state of a training that has some."""


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
        self.nca, self.config, self.settings = nca, config, settings
        self.train, self.val, self.pool = train, val, pool
        self.optimizers, self.scheduler = list(optimizers), scheduler
        self.generators, self.processes = generators, processes
        self.history, self.iterate, self.callbacks = history, iterate, callbacks
        self.interrupts, self.checkpointing = callbacks.interrupts, callbacks.checkpointing
        self.recorders, self.observers = callbacks.recorders, callbacks.observers
        self.status: Status = "running"
        self.budget = Budget(config.max_epochs, config.max_minutes)
        self.step = OptimizerStep(nca, config, self.optimizers, processes, self.budget)
        self.preparation = BatchPreparation(nca, config.batch_repeat, pool, processes)
        warming = (lambda: self.step.taken) if config.ema_warmup else None
        self.average = make_average(nca, config.ema_decay, warming)
        self.position = Position(generators)
        self.losses = LossSums()
        self.lr = config.lr  # that of the epoch, when it began
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
        """Return the model with averaged weights; the model itself if there is no average."""
        model = self.nca if self.average is None else self.average.module
        if not isinstance(model, AbstractNCAModel):
            raise TypeError(f"averaged model must be an NCA model, got {type(model).__name__}")
        return model

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
            if self._is_stopped():
                logger.info("stopped early after epoch %d", number - 1)
                return
            self._train_epoch(number)

    def _epochs(self) -> Iterator[int]:
        """Count the epochs that are left, from 1, up to the limit or while there is time."""
        if self.config.max_minutes is None:
            yield from range(self.history.current_epoch + 1, self.config.max_epochs + 1)
            return
        while not self._is_out_of_time():
            yield self.history.current_epoch + 1

    def _is_stopped(self) -> bool:
        """Return whether a callback has stopped the training; all processes agree on it."""
        if self.processes.count == 1:
            return self._stopped
        stopped = torch.tensor(float(self._stopped), device=self.nca.device)
        return bool(self.processes.sum(stopped) > 0)

    def _measure_progress(self) -> None:
        """Measure how much of the training is done; all processes agree on it."""
        seconds = self.budget.seconds()
        if self.processes.count > 1 and self.budget.minutes is not None:
            shared = torch.tensor(seconds / self.processes.count, device=self.nca.device)
            seconds = float(self.processes.sum(shared))
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
            self.lr = self.optimizers[0].param_groups[0]["lr"] * self.step.lr_factor()
        self._train_on_all_batches(number)
        losses, cells = self.read_epoch(number)
        metrics = {} if self.val is None else self.measure(self.averaged_model(), self.val)
        self.interrupts.hold()
        value = self._deciding_value(losses, metrics)
        self.step.torn = True
        # A plateau is one of the deciding value, which there is once an epoch.
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(value)
        elif self.config.scheduler_interval == "epoch":
            self.scheduler.step()
        seconds, due = time.perf_counter() - start, self.checkpointing.is_due(number)
        epoch = EpochResult(number, losses, metrics, value, self.lr, seconds, cells, due)
        self.recorders.on_epoch_end(self, epoch)
        self.position.start_epoch()
        self.losses.clear()
        self.step.torn = False
        self.interrupts.release()
        self.observers.on_epoch_end(self, epoch)

    def _deciding_value(self, losses: dict[str, float], metrics: dict[str, float]) -> float:
        """Return what the best epoch is chosen by: the validation metric, else the loss."""
        if self.val is None:
            return losses["total"]
        name = str(self.nca.validation_metric)
        if name not in metrics:
            raise ValueError(
                f"validation_metric must be a metric of one value, got {name!r} with "
                f"{', '.join(key for key in metrics if key.startswith(name))}"
            )
        return metrics[name]

    def measure(self, nca: AbstractNCAModel, loader: DataLoader[Any]) -> dict[str, float]:
        """Return the metrics of a model; no prediction is kept."""
        return self.processes.validate(nca, loader, itertools.count(draw_seed() // 2))

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
        if self.average is not None:
            self.average.update_parameters(self.nca)
        if self.config.scheduler_interval == "batch" and not isinstance(
            self.scheduler, ReduceLROnPlateau
        ):
            self.scheduler.step()
        return results

    def _train_on_batch(self, shard: BatchShard, iteration: int) -> _Trained:
        """Prepare a batch and train on it."""
        batch = self.preparation.prepare(shard)
        self.step.begin(batch)
        with self.processes.drawing():
            trained = self.iterate(self.step, batch.x, batch.y, iteration)
        prediction, losses = check_trained(trained)
        return batch, iteration, prediction, losses

    # What an epoch came to

    def read_epoch(self, number: int) -> tuple[dict[str, float], CellStatistics]:
        """Return the mean of each loss term, and what cells are like; read from the device once.

        Raises:
            RuntimeError: If a step was not finite.
        """
        if not self.losses.counts:
            raise RuntimeError(
                f"loss must be finite in some step of an epoch, got none in epoch {number}; "
                f"{self.checkpointing.last_good()}"
            )
        sums, monitor = self.losses.stacked(), self.step.monitor
        last = None if self._last is None else self._last.output_image
        # Cells of no batch are well.
        cells = torch.ones(2) if last is None else measure_cells(self.nca, last)
        read = (sums, monitor.report(), cells, monitor.weights_are_finite())
        *numbers, largest, living, finite = torch.cat([t.to(sums.device) for t in read]).tolist()
        losses = self.losses.means(numbers)
        problem = monitor.problem(numbers[len(sums) :])
        if problem is None and not all(map(math.isfinite, losses.values())):
            problem = f"loss must stay finite, got {losses}"
        if problem is None and not finite:
            # Finite gradients times a large learning rate: the next loss would come after a save.
            problem = "weights must stay finite, got NaN or infinite ones after the last step"
        if problem is not None:
            raise RuntimeError(f"{problem} in epoch {number}; {self.checkpointing.last_good()}")
        return losses, CellStatistics(largest, living)

    def check_finite(self) -> None:
        """Raise a RuntimeError if a step of the current epoch was not finite."""
        if self.losses.counts:
            self.read_epoch(self.history.current_epoch + 1)

    # The state

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the training is resumed from."""
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
            "seconds": self.budget.seconds(),
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
        if (held := len(state["random"]["generators"])) != len(self.generators):
            raise ValueError(
                "dataloaders and pool must have as many generators of their own as when the run "
                f"was saved, {held}, to resume, got {len(self.generators)}"
            )

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`state_dict` returned."""
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
        self.budget.restart(state["seconds"])
        self.lr, self.step.taken = state["lr"], state["steps"]
        self.losses.load_state_dict(state, self.nca.device)
        self.position.load_state_dict(state)
