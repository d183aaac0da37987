"""One training: what the loop carries from step to step, and goes on from."""

import itertools
import logging
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, Prediction, interpret_range_parameter, pad_input
from ncalab.core.fire import draw_seed
from ncalab.core.saving import check_weights
from ncalab.train.checkpoint import CHECKPOINT_NAME, encode_state, read_checkpoint, write_checkpoint
from ncalab.train.distributed import OneProcess, Part
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.history import TrainingHistory
from ncalab.train.interrupts import HeldInterrupts
from ncalab.train.optimizers import restore_scheduler, warmup_factor
from ncalab.train.progress import Progress
from ncalab.train.random_state import capture_random_state, find_generators, restore_random_state
from ncalab.train.records import Records
from ncalab.train.run_folder import remove_leftovers
from ncalab.train.settings import (
    Settings,
    describe_data,
    describe_model,
    describe_optimizer,
    describe_scheduler,
    describe_trainer,
    differences,
)
from ncalab.train.step import Step
from ncalab.train.visuals import Visual

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from ncalab.train.trainer import BasicNCATrainer

logger = logging.getLogger(__name__)

# With save_every=None, saving may take this share of the time.
_SHARE_OF_SAVING = 0.1


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
        self.records = Records(writer if processes.is_main else None)
        optimizer, head_optimizer, self.scheduler = trainer._make_optimizers()
        self.optimizers = [optimizer] if head_optimizer is None else [optimizer, head_optimizer]
        self.step = Step(trainer, self.optimizers, processes)
        self.average = self._make_average()
        self.visual: Visual | None = None
        self.progress: Progress | None = None
        self.interrupts = HeldInterrupts()
        higher = val is not None and self._metric_direction()
        self.history = TrainingHistory(
            trainer.model_path, {}, 0, self.nca, verbose=val is not None, higher_is_better=higher
        )
        if earlystopping is not None and earlystopping.higher_is_better is None:
            earlystopping.higher_is_better = higher
        self.generators = find_generators(train, val, trainer.pool)
        self.settings = self._describe(optimizer)
        # Position: batches done in this epoch and overall, and the sums of their losses.
        self.batches = self.iterations = self.counted = 0
        self.sums: dict[str, Tensor] = {}
        self.epoch_start = self.moment = capture_random_state(self.generators)
        self.last_batch: tuple[Tensor, Prediction, Tensor] | None = None
        self.saved, self.saved_epoch = False, -1
        self._seconds_saving = 0.0
        self._began = time.perf_counter()

    def _make_average(self) -> AveragedModel | None:
        decay = self.trainer.ema_decay
        if decay is None:
            return None
        return AveragedModel(self.nca, multi_avg_fn=get_ema_multi_avg_fn(decay))

    def _metric_direction(self) -> bool:
        metric = self.nca.named_metrics()[str(self.nca.validation_metric)]
        if not isinstance(direction := getattr(metric, "higher_is_better", None), bool):
            raise ValueError(
                f"validation_metric must know whether higher is better, "
                f"got {self.nca.validation_metric!r}"
            )
        return direction

    def _describe(self, optimizer: torch.optim.Optimizer) -> Settings:
        head = self.optimizers[1] if len(self.optimizers) > 1 else None
        return {
            **describe_model(self.nca),
            **describe_trainer(self.trainer),
            **describe_optimizer("optimizer", optimizer),
            **describe_optimizer("head_optimizer", head),
            **describe_scheduler(self.scheduler),
            **describe_data(self.train, validated=self.val is not None),
        }

    # One epoch

    def epoch(self, number: int) -> None:
        """Train on all batches, validate, and take note."""
        start = time.perf_counter()
        lr = self.optimizers[0].param_groups[0]["lr"]
        lr *= warmup_factor(self.step.taken, self.trainer.warmup_steps)
        self._train_on_all_batches(number)
        losses = self._mean_losses(number)
        metrics = self._validate()
        self.interrupts.hold()
        value = metrics[str(self.nca.validation_metric)] if metrics else losses["total"]
        if self.trainer.scheduler_interval == "epoch":
            self._step_schedule(value)
        seconds = time.perf_counter() - start
        self.history.add_epoch(losses, lr=lr, seconds=seconds, metrics=metrics)
        averaged = None if self.average is None else self._averaged_model().state_dict()
        self.history.update(number, self.nca, value, weights=averaged)
        self.history.average_weights = averaged
        if self.earlystopping is not None:
            self.earlystopping.step(value)
        self.batches = self.counted = 0
        self.sums = {}
        self.epoch_start = self.moment = capture_random_state(self.generators)
        self.records.epoch(number, lr=lr, metrics=metrics)
        if self.progress is not None:
            shown = {"loss": losses["total"], **metrics, "lr": lr}
            self.progress.end_epoch(number, shown, seconds)
        self.interrupts.release()

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
            self.interrupts.hold()
            group += itertools.islice(parts, self.trainer.accumulate - 1)
            self._train_on_group(group)
            if self.history.path is not None:
                self.moment = capture_random_state(self.generators)
            self.interrupts.release()
        if not self.batches:
            raise ValueError("dataloader_train must yield at least one batch, got none")

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

    def _train_on_group(self, group: list[Part]) -> None:
        """Take one optimiser step on one or several batches."""
        trainer, nca, step = self.trainer, self.nca, self.step
        step.start()
        steps = before = 0
        rollout: dict[str, Any] = {}
        done: list[tuple[Part, Tensor, Prediction, Tensor, dict[str, Tensor]]] = []
        for part in group:
            x, y, rows, total = self._prepare(part)
            if not done:
                steps = interpret_range_parameter(nca.training_timesteps)
                rollout = {"seed": draw_seed()} if step.weighted else {}
            if step.weighted:
                rollout["samples"] = [before + row for row in rows]
            counted = len(x) if part.rows is None or len(part.rows) else 0
            with self.processes.drawing():
                prediction, losses = step.backward(
                    x, y, steps, counted=counted, total=total, **rollout
                )
            before += total
            done.append((part, x, prediction, y, losses))
        taken = step.finish(self.batches + len(group))
        self.batches += len(group)
        self.iterations += len(group)
        self.saved = False
        if not taken:
            self.history.skipped_steps += 1
            logger.warning("skipped step %d: loss or gradients not finite", self.iterations)
            return
        for i, (part, x, prediction, y, losses) in enumerate(done, self.iterations - len(group)):
            self._take_note(part, (x, prediction, y), losses, i)
        if self.average is not None:
            self.average.update_parameters(nca)
        if trainer.scheduler_interval == "batch":
            self._step_schedule()

    def _prepare(self, part: Part) -> tuple[Tensor, Tensor, list[int], int]:
        """Return states, labels, indices of the samples in the whole batch, and its size."""
        nca, repeat, pool = self.nca, self.trainer.batch_repeat, self.trainer.pool
        x, y = _unpack(part.batch)
        x = nca.prepare_input(x.to(nca.device, nca.dtype))
        total = len(x) if part.total is None else part.total
        own = range(len(x)) if part.rows is None else part.rows
        rows = [i * total + row for i in range(repeat) for row in own]
        x, y = self._pad(x, part), y.to(nca.device)
        if repeat > 1:
            x, y = (torch.cat([tensor] * repeat) for tensor in (x, y))
        if pool is not None:
            drawn = pool.sample(self.processes.collect(x, part))
            x = drawn if part.rows is None else drawn[rows or slice(len(x))]
        # A process without rows fills in with the first sample, so that its step is like others'.
        return x, y, rows or list(range(len(x))), total * repeat

    def _pad(self, x: Tensor, part: Part) -> Tensor:
        nca = self.nca
        if part.total is None or part.rows is None or not nca.pad_noise:
            return pad_input(x, nca, noise=nca.pad_noise)
        # Noise of the whole batch, as one process would draw it; each takes that of its rows.
        whole = pad_input(x.new_zeros(part.total, *x.shape[1:]), nca, noise=True)
        first = min(part.rows.start, part.total - len(x))
        return torch.cat([x, whole[first : first + len(x), x.shape[1] :]], dim=1)

    def _take_note(
        self,
        part: Part,
        batch: tuple[Tensor, Prediction, Tensor],
        losses: dict[str, Tensor],
        iteration: int,
    ) -> None:
        """Add up the losses of a batch, and put its states into the pool."""
        _, prediction, y = self.last_batch = batch
        pool = self.trainer.pool
        if pool is not None:
            of_each = self.nca.sample_losses(prediction, y)
            states = self.processes.collect(prediction.output_image, part)
            pool.update(states, losses=self.processes.collect(of_each, part))
        if part.rows is not None and part.total:
            share = len(part.rows) / part.total
            means = self.processes.sum(torch.stack([v.float() for v in losses.values()]) * share)
            losses = dict(zip(losses, means, strict=True))
        self.counted += 1
        for name, value in losses.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.records.losses(losses, iteration)
        if self.progress is not None:
            self.progress.batch(lambda: float(losses["total"]))

    def _mean_losses(self, number: int) -> dict[str, float]:
        """Return the mean of each loss term, read from the device once.

        Raises:
            RuntimeError: If a step was not finite.
        """
        if not self.counted:
            raise RuntimeError(
                f"loss must be finite in some step, got none in epoch {number} that was "
                f"{self._last_good()}"
            )
        sums = torch.stack([value.float() for value in self.sums.values()])
        report = self.step.watch.report().to(sums.device)
        numbers = torch.cat([sums, report]).tolist()
        problem = self.step.watch.problem(numbers[len(self.sums) :])
        means = [value / self.counted for value in numbers[: len(self.sums)]]
        losses = dict(zip(self.sums, means, strict=True))
        if problem is None and not all(map(_is_finite, means)):
            problem = f"loss must stay finite, got {losses}"
        if problem is not None:
            raise RuntimeError(f"{problem} in epoch {number}; {self._last_good()}")
        return losses

    def _last_good(self) -> str:
        if self.history.path is None or self.saved_epoch < 0:
            return "nothing was saved before"
        place = self.history.path / CHECKPOINT_NAME
        return f"the last good checkpoint is that of epoch {self.saved_epoch} ({place})"

    def _averaged_model(self) -> AbstractNCAModel:
        model = self.nca if self.average is None else self.average.module
        if not isinstance(model, AbstractNCAModel):
            raise TypeError(f"averaged model must be an NCA model, got {type(model).__name__}")
        return model

    def _validate(self) -> dict[str, float]:
        return {} if self.val is None else self.measure(self._averaged_model(), self.val)

    def measure(self, nca: AbstractNCAModel, loader: DataLoader[Any]) -> dict[str, float]:
        """Return the metrics of a model; no prediction is kept."""
        return self.processes.validate(nca, loader, itertools.count(draw_seed() // 2))

    # Saving and going on

    def state(self) -> dict[str, Any]:
        """Return all that the training goes on from."""
        pool, stopping = self.trainer.pool, self.earlystopping
        return {
            "settings": self.settings,
            "model": self.nca.state_dict(),
            "best": self.history.best_weights,
            "average": None if self.average is None else self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "scheduler": self.scheduler.state_dict(),
            "pool": None if pool is None else pool.state_dict(),
            "early_stopping": None if stopping is None else stopping.state_dict(),
            "history": self.history.to_dict(),
            "epoch": self.history.current_epoch,
            "batches": self.batches,
            "iterations": self.iterations,
            "counted": self.counted,
            "steps": self.step.taken,
            "sums": self.sums,
            "epoch_start": self.epoch_start,
            "random": self.moment,
        }

    def size(self) -> int:
        """Return the number of bytes that a save takes at least; raise if it cannot be saved.

        Raises:
            TypeError: If the state holds what is no data.
        """
        text, tensors = encode_state(self.state())
        held = sum(tensor.nbytes for tensor in tensors.values())
        weights = sum(parameter.nbytes for parameter in self.nca.parameters())
        return len(text) + held + 5 * weights  # moments of Adam, best, last and average weights

    def resume(self) -> None:
        """Go on from the checkpoint in the run folder.

        Raises:
            ValueError: If the checkpoint is damaged, or that of another model or configuration.
                The model is unchanged then.
        """
        if self.history.path is None:
            raise ValueError("model_path must be a run folder to resume, got None")
        path = self.history.path / CHECKPOINT_NAME
        state = read_checkpoint(path)
        if missing := sorted(self.state().keys() - state.keys()):
            raise ValueError(f"{path} is a damaged checkpoint: it lacks {', '.join(missing)}")
        if found := differences(state["settings"], self.settings):
            raise ValueError(
                f"model_path must hold a run of the same model and settings to resume, got "
                f"{self.history.path} with others ({'; '.join(found)})"
            )
        check_weights(self.nca, state["model"], path)
        if state["best"] is not None:
            check_weights(self.nca, state["best"], path)
        before = {name: value.clone() for name, value in self.nca.state_dict().items()}
        try:
            self._restore(state)
        except (KeyError, TypeError, AttributeError, IndexError, RuntimeError) as error:
            self.nca.load_state_dict(before)
            raise ValueError(f"{path} is a damaged checkpoint: {error!r:.200}") from error

    def _restore(self, state: dict[str, Any]) -> None:
        self.nca.load_state_dict(state["model"])
        for optimizer, own in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(own)
        restore_scheduler(self.scheduler, state["scheduler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
            self.history.average_weights = self._averaged_model().state_dict()
        if self.trainer.pool is not None:
            self.trainer.pool.load_state_dict(state["pool"], device=self.nca.device)
        if self.earlystopping is not None and state["early_stopping"] is not None:
            self.earlystopping.load_state_dict(state["early_stopping"])
        self.history.restore(state["history"], state["best"])
        self.batches, self.iterations = state["batches"], state["iterations"]
        self.counted, self.step.taken = state["counted"], state["steps"]
        self.sums = {name: value.to(self.nca.device) for name, value in state["sums"].items()}
        self.epoch_start, self.moment = state["epoch_start"], state["random"]
        restore_random_state(self.moment, self.generators)
        self.saved_epoch = self.history.current_epoch

    def can_afford_to_save(self) -> bool:
        """Return whether saving took a small share of the time so far."""
        return self._seconds_saving <= _SHARE_OF_SAVING * (time.perf_counter() - self._began)

    def save(self) -> None:
        """Write the run folder: first the checkpoint, which counts, then what repeats it.

        Raises:
            OSError: If it cannot be written; what was there before is whole.
        """
        if not self.processes.is_main or self.history.path is None:
            return
        start = time.perf_counter()
        self.interrupts.hold()
        try:
            remove_leftovers(self.history.path)
            write_checkpoint(self.history.path / CHECKPOINT_NAME, self.state())
            self.saved_epoch = self.history.current_epoch
            self.history.save()
            self.saved = True
        except OSError as error:
            raise OSError(
                error.errno,
                f"epoch {self.history.current_epoch} could not be saved ({error.strerror}); "
                f"{self._last_good()}",
                str(self.history.path),
            ) from error
        self._seconds_saving += time.perf_counter() - start
        self.interrupts.release()

    def draw(self) -> None:
        """Write a figure of the last batch."""
        writer = self.records.writer
        if writer is None or self.visual is None or self.last_batch is None:
            return
        x, prediction, y = self.last_batch
        figure = self.visual.show(
            self.nca, x.detach().cpu().numpy(), prediction, y.detach().cpu().numpy()
        )
        writer.add_figure("Training batch", figure, self.history.current_epoch)

    def finish(self, test: DataLoader[Any] | None) -> TrainingHistory:
        """Save, measure the best weights, and save what was measured."""
        self.history.finish()
        if not self.saved:
            self.save()
        if test is not None and self.history.best_model is not None:
            self.history.test_metrics = self.measure(self.history.best_model, test)
            self.save()
        self.records.hyperparameters(self.settings, self.history)
        self.processes.wait()
        return self.history

    def interrupt(self) -> TrainingHistory:
        """End after Ctrl-C: save where the training stands, unless it is within a step."""
        self.history.interrupted = True
        self.history.finish()
        epoch = self.history.current_epoch
        if self.interrupts.held:
            logger.warning("interrupted within a step after epoch %d; %s", epoch, self._last_good())
            return self.history
        if self.counted:
            self._mean_losses(epoch + 1)  # weights that are not finite must not be saved
        logger.warning("interrupted after epoch %d and %d batches; saving", epoch, self.batches)
        self.records.flush()
        self.save()
        return self.history


def _is_finite(value: float) -> bool:
    return value - value == 0


def _unpack(batch: Iterable[Any]) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise ValueError(f"batches must be pairs (images, labels), got {type(batch).__name__}")
    return batch[0], batch[1]
