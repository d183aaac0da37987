"""One training: what the loop carries from step to step, and goes on from."""

import itertools
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel
from ncalab.core.fire import draw_seed
from ncalab.train.budget import Budget
from ncalab.train.distributed import OneProcess, Part
from ncalab.train.early_stopping import EarlyStopping, check_stopping
from ncalab.train.figures import Figures
from ncalab.train.group import Group, Trained
from ncalab.train.guard import Guard
from ncalab.train.health import CellStatistics, HealthMonitor, measure_cells
from ncalab.train.history import TrainingHistory
from ncalab.train.interrupts import HeldInterrupts
from ncalab.train.metrics import higher_is_better, single_metrics
from ncalab.train.optimizers import check_plateau
from ncalab.train.progress import Progress
from ncalab.train.random_state import capture_random_state, find_generators, restore_random_state
from ncalab.train.records import Records
from ncalab.train.saver import Saver
from ncalab.train.settings import (
    Settings,
    describe_data,
    describe_model,
    describe_optimizer,
    describe_parameters,
    describe_scheduler,
    describe_trainer,
)
from ncalab.train.step import Step
from ncalab.train.stuck import warn_if_stuck
from ncalab.train.visuals import Estimator, Visual, find_visual

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from ncalab.train.trainer import BasicNCATrainer

logger = logging.getLogger(__name__)

OnEpoch = Callable[[int, Mapping[str, float]], None]
"""What is called after an epoch: its number, from 1, and its values by name."""


class Run:
    """One training: what the loop carries from step to step.

    Between two groups of batches its state is whole: that is where it is saved, and where Ctrl-C
    takes effect.
    """

    def __init__(
        self,
        trainer: "BasicNCATrainer",
        train: DataLoader[Any],
        val: DataLoader[Any] | None,
        writer: "SummaryWriter | None",
        earlystopping: EarlyStopping | None,
        processes: OneProcess,
    ) -> None:
        self.trainer, self.nca, self.processes = trainer, trainer.nca, processes
        self.train, self.val, self.earlystopping = train, val, earlystopping
        self.guard = Guard()
        self.records = Records(writer if processes.is_main else None, self.guard)
        optimizer, head_optimizer, self.scheduler = trainer._make_optimizers()
        self.optimizers = [optimizer] if head_optimizer is None else [optimizer, head_optimizer]
        self.budget = Budget(trainer.max_epochs, trainer.max_minutes)
        self.step = Step(trainer, self.optimizers, processes, self.budget)
        self.group = Group(trainer, self.step, processes)
        self.average = self._make_average()
        self.figures: Figures | None = None
        self.progress: Progress | None = None
        self.on_epoch: OnEpoch | None = None
        self.interrupts = HeldInterrupts()
        higher = val is not None and higher_is_better(self.nca)
        self.history = TrainingHistory(
            trainer.model_path, {}, 0, self.nca, verbose=val is not None, higher_is_better=higher
        )
        check_plateau(self.scheduler, higher_is_better=higher)
        if earlystopping is not None:
            check_stopping(earlystopping, higher_is_better=higher)
            earlystopping.reset(higher_is_better=higher)
        self.generators = find_generators(train, val, trainer.pool)
        self.settings = self._describe(optimizer)
        # Position: batches done in this epoch and overall, and by name the sums of their losses.
        self.batches = self.iterations = 0
        self.lr = trainer.lr  # that of the epoch, when it began
        self.sums: dict[str, Tensor] = {}
        self.counts: dict[str, int] = {}
        self.epoch_start = self.moment = capture_random_state(self.generators)
        self.last_batch: Trained | None = None
        self.health, self.cells = HealthMonitor(), CellStatistics(1.0, 1.0)
        # Data sets that cannot tell how many they are do not tell how much of an epoch is done.
        self._epoch_length = len(train) if hasattr(train.dataset, "__len__") else 0
        self.saver = Saver(self)

    def _make_average(self) -> AveragedModel | None:
        decay = self.trainer.ema_decay
        if decay is None:
            return None
        if not self.trainer.ema_warmup:
            return AveragedModel(self.nca, multi_avg_fn=get_ema_multi_avg_fn(decay))

        def warmed_up(averaged: Any, latest: Any, count: Tensor | int) -> None:
            # Not of the count, which is on the device.
            now = min(decay, (1 + self.step.taken) / (10 + self.step.taken))
            get_ema_multi_avg_fn(now)(averaged, latest, count)

        return AveragedModel(self.nca, multi_avg_fn=warmed_up)

    def _describe(self, optimizer: torch.optim.Optimizer) -> Settings:
        head = self.optimizers[1] if len(self.optimizers) > 1 else None
        return {
            **describe_model(self.nca, saved=self.trainer.model_path is not None),
            **describe_parameters(self.nca, self.optimizers),
            **describe_trainer(self.trainer),
            **describe_optimizer("optimizer", optimizer),
            **describe_optimizer("head_optimizer", head),
            **describe_scheduler(self.scheduler),
            **describe_data(self.train, self.val),
        }

    # One epoch

    def epoch(self, number: int) -> None:
        """Train on all batches, validate, and take note."""
        start = time.perf_counter()
        if not self.batches:
            self.measure_progress()
            self.lr = self.optimizers[0].param_groups[0]["lr"] * self.step.lr_factor()
        self._train_on_all_batches(number)
        losses = self._mean_losses(number)
        metrics = self._validate()
        self.interrupts.hold()
        value = self._deciding_value(losses, metrics)
        self.step.torn = True
        # A plateau is one of the deciding value, which there is once an epoch.
        if self.trainer.scheduler_interval == "epoch" or isinstance(
            self.scheduler, ReduceLROnPlateau
        ):
            self._step_schedule(value)
        seconds = time.perf_counter() - start
        self.history.add_epoch(losses, lr=self.lr, seconds=seconds, metrics=metrics)
        averaged = None if self.average is None else self.averaged_model().state_dict()
        self._warn_if_stuck()
        if self.processes.is_main:
            self.health.see_epoch(self.history.loss, self.cells)
        self.history.update(number, self.nca, value, weights=averaged)
        self.history.average_weights = averaged
        if self.earlystopping is not None:
            self.earlystopping.step(value)
        self.batches = 0
        self.sums, self.counts = {}, {}
        self.epoch_start = self.moment = capture_random_state(self.generators)
        self.step.torn = False
        self.records.epoch(number, lr=self.lr, metrics=metrics)
        if self.progress is not None:
            shown = {"loss": losses["total"], **metrics, "lr": self.lr}
            self.progress.end_epoch(number, shown, seconds)
        if self.on_epoch is not None:
            with self.guard("on_epoch"):
                self.on_epoch(number, {**losses, **metrics, "lr": self.lr})
        self.interrupts.release()

    def _warn_if_stuck(self, *, ended: bool = False) -> None:
        name = str(self.nca.validation_metric)
        if self.val is not None and self.processes.is_main:
            warn_if_stuck(
                name,
                self.history.metric_curves.get(name, []),
                single_metrics(self.nca)[name],
                higher_is_better=self.history.higher_is_better,
                ended=ended,
            )

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

    def _step_schedule(self, value: float | None = None) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            if value is not None:
                self.scheduler.step(value)
        else:
            self.scheduler.step()

    def _train_on_all_batches(self, number: int) -> None:
        self.nca.train()
        self.step.watch.reset()
        self.processes.start_epoch()
        if self.progress is not None:
            self.progress.start_epoch(number, self.batches)
        parts = self._remaining_parts(number)
        while group := list(itertools.islice(parts, 1)):
            if self.batches and self.is_out_of_time():
                break
            self.interrupts.hold()
            group += itertools.islice(parts, self.trainer.accumulate - 1)
            self._train_on_group(group)
            if self.history.path is not None:
                self.moment = capture_random_state(self.generators)
            self.step.torn = False
            self.interrupts.release()
        if not self.batches:
            raise ValueError("dataloader_train must yield at least one batch, got none")

    def measure_progress(self) -> None:
        """Measure how much of the training is done; all processes agree on it."""
        seconds = self.budget.seconds()
        if self.processes.count > 1 and self.budget.minutes is not None:
            shared = torch.tensor(seconds / self.processes.count, device=self.nca.device)
            seconds = float(self.processes.sum(shared))
        share = self.batches / self._epoch_length if self._epoch_length else 0.0
        self.budget.measure(self.history.current_epoch + share, seconds)

    def is_out_of_time(self) -> bool:
        """Measure the progress, and return whether the minutes of the training are over."""
        self.measure_progress()
        return self.budget.is_spent()

    def _remaining_parts(self, number: int) -> Iterator[Part]:
        """Iterate over the batches of an epoch, from where it was left.

        To get to that place, the epoch is begun as it was begun, in the same random state, and
        its first batches are loaded again. Then the random state of the place itself is restored.
        """
        samplers: tuple[Any, ...] = (self.train.sampler, self.train.batch_sampler)
        for sampler in samplers:
            if hasattr(sampler, "set_epoch"):
                sampler.set_epoch(number - 1)
        if not self.batches:
            return self.processes.parts(self.train)
        restore_random_state(self.epoch_start, self.generators)
        parts = self.processes.parts(self.train)
        for _ in range(self.batches):
            next(parts)
        restore_random_state(self.moment, self.generators)
        return parts

    def _train_on_group(self, parts: list[Part]) -> None:
        """Take one optimiser step on one or several batches, and note what came out."""
        first = self.iterations
        trained = self.group.train(parts, self.batches + len(parts))
        self.batches += len(parts)
        self.iterations += len(parts)
        self.saver.saved = False
        if trained is None:
            self.history.skipped_steps += 1
            logger.warning("skipped step %d: loss or gradients not finite", self.iterations)
            return
        for iteration, batch in enumerate(trained, first):
            self._take_note(batch, iteration)
        if self.average is not None:
            self.average.update_parameters(self.nca)
        if self.trainer.scheduler_interval == "batch":
            self._step_schedule()

    def _take_note(self, batch: Trained, iteration: int) -> None:
        self.last_batch = batch
        for name, value in batch.losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
            # A loss may have terms that come and go; the mean is that of the batches that have it.
            self.counts[name] = self.counts.get(name, 0) + 1
        self.records.losses(batch.losses, iteration)
        if self.progress is not None:
            self.progress.batch(lambda: float(batch.losses["total"]))

    def _mean_losses(self, number: int) -> dict[str, float]:
        """Return the mean of each loss term, read from the device once.

        Raises:
            RuntimeError: If a step was not finite.
        """
        if not self.counts:
            raise RuntimeError(
                f"loss must be finite in some step of an epoch, got none in epoch {number}; "
                f"{self.saver.last_good()}"
            )
        sums = torch.stack([value.float() for value in self.sums.values()])
        report, weights = self.step.watch.report(), self.step.watch.weights_are_finite()
        read = (sums, report, self._measure_last_batch(), weights)
        *numbers, largest, living, finite = torch.cat([t.to(sums.device) for t in read]).tolist()
        self.cells = CellStatistics(largest, living)
        problem = self.step.watch.problem(numbers[len(self.sums) :])
        totals = dict(zip(self.sums, numbers, strict=False))
        losses = {name: total / self.counts[name] for name, total in totals.items()}
        if problem is None and not all(map(_is_finite, losses.values())):
            problem = f"loss must stay finite, got {losses}"
        if problem is None and not finite:
            # Finite gradients times a large learning rate: the next loss would tell, after a save.
            problem = "weights must stay finite, got NaN or infinite ones after the last step"
        if problem is not None:
            self.records.flush()
            raise RuntimeError(f"{problem} in epoch {number}; {self.saver.last_good()}")
        return losses

    def _measure_last_batch(self) -> Tensor:
        """Return what cells of the last batch are like; those of none are well."""
        if self.last_batch is None:
            return torch.ones(2)
        return measure_cells(self.nca, self.last_batch.prediction.output_image)

    def averaged_model(self) -> AbstractNCAModel:
        """Return the model with the averaged weights; the model itself if there is no average."""
        model = self.nca if self.average is None else self.average.module
        if not isinstance(model, AbstractNCAModel):
            raise TypeError(f"averaged model must be an NCA model, got {type(model).__name__}")
        return model

    def _validate(self) -> dict[str, float]:
        return {} if self.val is None else self.measure(self.averaged_model(), self.val)

    def measure(self, nca: AbstractNCAModel, loader: DataLoader[Any]) -> dict[str, float]:
        """Return the metrics of a model; no prediction is kept."""
        return self.processes.validate(nca, loader, itertools.count(draw_seed() // 2))

    def watch(self, info: str, visual: Visual | None, uncertainty: Estimator | None) -> None:
        """Begin the log.

        Args:
            info: What is trained and how, in Markdown.
            visual: Draws a batch; if None, the model's own visual or that of an installed package.
            uncertainty: Estimates the model's uncertainty, if that is to be drawn.
        """
        self.records.text("Training", info)
        if visual is None:
            with self.guard(f"the visual of task {self.nca.task!r}"):
                visual = find_visual(self.nca)
        self.figures = Figures(self, visual, uncertainty)

    def finish(self, test: DataLoader[Any] | None) -> TrainingHistory:
        """Save, measure the best weights, and save what was measured."""
        self._warn_if_stuck(ended=True)
        if not self.saver.saved:
            self.saver.save()
        self.history.finish()
        if self.history.best_model is None and self.val is not None:
            logger.warning(
                "no best model could be chosen, and no test metrics measured: validation %s was "
                "undefined (NaN) after every epoch",
                self.nca.validation_metric,
            )
        elif self.history.best_model is not None and test is not None:
            self.history.test_metrics = self.measure(self.history.best_model, test)
            self.saver.save()
        self.records.hyperparameters(self.settings, self.history)
        self.processes.wait()
        return self.history

    def interrupt(self) -> TrainingHistory:
        """End after Ctrl-C: save where the training stands, unless it is within a step."""
        self.history.interrupted = True
        epoch = self.history.current_epoch
        if self.interrupts.held:
            self.history.finish()
            logger.warning(
                "interrupted within a step after epoch %d; %s", epoch, self.saver.last_good()
            )
            return self.history
        if self.counts:
            self._mean_losses(epoch + 1)  # weights that are not finite must not be saved
        logger.warning("interrupted after epoch %d and %d batches; saving", epoch, self.batches)
        self.records.flush()
        self.saver.save()
        self.history.finish()
        return self.history

    def rescue(self) -> None:
        """Save where the training stands, after an error that ends it.

        An error in a rollout, its loss or a data set leaves the weights as the last step made
        them. Nothing is saved if they may be half a step further, or are not finite.
        """
        self.records.flush()
        if self.history.path is None or self.saver.failed or self.saver.saved:
            return
        if self.step.torn or not self.iterations or not self._is_sound():
            return
        self.history.interrupted = True
        try:
            self.saver.save()
        except Exception as error:  # the one that ends the training is raised, not this one
            logger.warning("after an error, the training could not be saved: %s", error)
            return
        epoch = self.history.current_epoch
        logger.warning("after an error, epoch %d and %d batches were saved", epoch, self.batches)

    def _is_sound(self) -> bool:
        """Return whether loss and weights of an unfinished epoch are finite so far."""
        try:
            return not self.counts or bool(self._mean_losses(self.history.current_epoch + 1))
        except RuntimeError:
            return False


def _is_finite(value: float) -> bool:
    return value - value == 0
