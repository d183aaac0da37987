"""The training loop."""

import inspect
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, Self

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, Prediction, interpret_range_parameter
from ncalab.core.argument_types import check_path, check_positive
from ncalab.core.checks import check_choice, check_flag, check_function, check_int, check_type
from ncalab.core.rollout import Checkpoint
from ncalab.core.saving import PathLike
from ncalab.train.arguments import check_betas, check_decays, check_share
from ncalab.train.budget import DECAYS, Decay
from ncalab.train.distributed import OneProcess, check_accelerator, find_processes
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.guard import Guard
from ncalab.train.history import TrainingHistory
from ncalab.train.metrics import check_metric
from ncalab.train.optimizers import (
    OPTIMIZERS,
    MuonOptions,
    SchedulerFactory,
    check_scheduled_parameters,
    default_lr,
    make_optimizer,
    schedule,
)
from ncalab.train.pool import Pool
from ncalab.train.preflight import (
    check_folder_options,
    check_loaders,
    check_model,
    check_observers,
)
from ncalab.train.preparation import take_preparation
from ncalab.train.progress import Progress
from ncalab.train.random_state import find_generators
from ncalab.train.recipe import Recipe, RecipeName, filled_by_recipe
from ncalab.train.records import Records
from ncalab.train.run import OnEpoch, Run
from ncalab.train.run_folder import prepare_folder, tidied
from ncalab.train.step import Step
from ncalab.train.visuals import Estimator, Visual

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

# The limit of torch.optim.Muon.
_MOST_ITERATIONS = 99
_OF_ONE_RUN = ("nca", "model_path")


class BasicNCATrainer:
    """Train any model: rollouts of random length, backpropagation through time, and a history.

    Args:
        nca: Model to train.
        model_path: Run folder, created when training starts, for ``checkpoint.safetensors`` (all
            that :meth:`train` resumes from), ``last_model.safetensors``,
            ``best_model.safetensors``, ``history.json`` and ``history.csv``. None: nothing is
            saved.
        gradient_clipping: Whether to clip the norm of all gradients to 1.
        lr: Initial learning rate; if None, 16e-4 for Adam and AdamW, 6e-2 for Muon, 1e-2 for the
            others.
        lr_gamma: Factor of the learning rate per epoch, unless a scheduler is given.
        adam_betas: Averaging coefficients of Adam and AdamW.
        batch_repeat: How often each batch is repeated within itself: more rollouts of the same
            images, with other cells firing.
        max_epochs: Number of epochs, unless ``max_minutes`` is given.
        optimizer_method: "adam", "adamw", "adagrad", "adafactor", "rmsprop", "sgd", or "muon":
            Muon for the weight matrices of update rules, Adam for all other parameters.
        pool: Sample pool that rollouts start from and return to.
        lr_scheduler: A scheduler, whose optimiser is then used, or a function that makes one of
            an optimiser. ReduceLROnPlateau sees the deciding metric.
        gradient_normalization: Whether to scale the gradient of each parameter tensor to
            length 1 before the step (and before clipping), as in Mordvintsev et al. 2020.
        scheduler_interval: Whether the schedule steps per "epoch" or per "batch" (with
            ``accumulate``, per optimiser step).
        progress: Whether to show progress on standard error: bars on a terminal, one line per
            epoch elsewhere.
        warmup_steps: Number of optimiser steps over which the learning rate rises linearly to
            what the schedule says; 0 for none.
        ema_decay: Decay, in [0, 1), of an exponential moving average of the weights. Where it is
            given, the average is what is validated, kept as the best model, and saved as
            ``average_model.safetensors``. None: no average.
        ema_warmup: Whether the average begins with the latest weights, so that it suits short
            trainings: after n steps, its decay is (1 + n) / (10 + n) at most.
        precision: "float32", or "bf16" to compute rollout and loss under autocast. Weights,
            gradients and states stay float32.
        accumulate: Number of batches per optimiser step. The gradient is that of one batch of all
            their samples, for a loss that is a mean over samples.
        checkpoint: What the backward pass keeps of a rollout's states: None for all, "auto" for
            memory that grows with the root of the number of steps, or every how many.
        max_minutes: How long to train, validations and saves included; if given, it decides
            instead of ``max_epochs``. What decays does so over these minutes, and a resumed
            training has those that are left.
        decay: How the learning rate falls in the course of the training: "cosine" or "linear",
            from ``lr`` to ``final_lr`` times ``lr``, a little at every step; or "gamma", by
            ``lr_gamma`` after each epoch or as the scheduler says.
        final_lr: Share of the learning rate that is left at the end, unless the decay is "gamma".
        first_steps: Share of a rollout's steps, in (0, 1], that is taken when the training
            begins; it grows linearly, and is 1 from half of the training on.
        skip_nonfinite: Whether to skip a step whose loss or gradient is not finite, instead of
            ending the training. Costs a host synchronisation per step.
        adam_lr: With "muon", initial learning rate of the parameters that Adam trains; the
            schedule scales it like ``lr``.
        muon_momentum: With "muon", momentum of the matrices, in [0, 1).
        muon_iterations: With "muon", number of Newton-Schulz iterations, 1 to 99.
        recipe: Where options come from that are not passed: "documented" for the defaults of this
            signature, "recommended" for Muon, a cosine and averaged weights with rates for the
            model's task, or a :class:`Recipe`. What is passed counts, whatever the recipe says.
        accelerator: Handle of Hugging Face Accelerate on the processes that share the training.
            None: made, if ``accelerate launch`` or ``torchrun`` started several.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range, or the scheduler is that of another model.
    """

    @filled_by_recipe
    def __init__(
        self,
        nca: AbstractNCAModel,
        model_path: PathLike | None,
        gradient_clipping: bool = False,
        lr: float | None = None,
        lr_gamma: float = 0.99,
        adam_betas: tuple[float, float] = (0.9, 0.95),
        batch_repeat: int = 2,
        max_epochs: int = 200,
        optimizer_method: str = "adam",
        pool: Pool | None = None,
        lr_scheduler: LRScheduler | SchedulerFactory | None = None,
        *,
        gradient_normalization: bool = False,
        scheduler_interval: Literal["epoch", "batch"] = "epoch",
        progress: bool = True,
        warmup_steps: int = 0,
        ema_decay: float | None = None,
        ema_warmup: bool = False,
        precision: Literal["float32", "bf16"] = "float32",
        accumulate: int = 1,
        checkpoint: Checkpoint = None,
        skip_nonfinite: bool = False,
        max_minutes: float | None = None,
        decay: Decay = "gamma",
        final_lr: float = 0.1,
        first_steps: float = 1.0,
        adam_lr: float = 16e-4,
        muon_momentum: float = 0.9,
        muon_iterations: int = 5,
        recipe: RecipeName | Recipe = "documented",
        accelerator: "Accelerator | None" = None,
    ) -> None:
        check_type("nca", nca, AbstractNCAModel)
        self.nca = nca
        self.model_path = None if model_path is None else check_path("model_path", model_path)
        self.gradient_clipping = check_flag("gradient_clipping", gradient_clipping)
        self.optimizer_method = str(optimizer_method).lower()
        check_choice("optimizer_method", self.optimizer_method, OPTIMIZERS)
        self.lr = default_lr(self.optimizer_method) if lr is None else check_positive("lr", lr)
        self.lr_gamma = check_positive("lr_gamma", lr_gamma)
        check_betas(adam_betas)
        self.adam_betas = adam_betas
        self.batch_repeat = check_int("batch_repeat", batch_repeat, minimum=1)
        self.max_epochs = check_int("max_epochs", max_epochs, minimum=1)
        check_type("pool", pool, Pool, optional=True)
        self.pool = pool
        if isinstance(lr_scheduler, LRScheduler):
            check_scheduled_parameters(lr_scheduler, nca)
        elif lr_scheduler is not None and not callable(lr_scheduler):
            raise TypeError(
                "lr_scheduler must be a scheduler or a function from optimiser to scheduler, "
                f"got {lr_scheduler!r}"
            )
        self.lr_scheduler = lr_scheduler
        self.gradient_normalization = check_flag("gradient_normalization", gradient_normalization)
        check_choice("scheduler_interval", scheduler_interval, ("epoch", "batch"))
        self.scheduler_interval = scheduler_interval
        self.progress = check_flag("progress", progress)
        self.warmup_steps = check_int("warmup_steps", warmup_steps, minimum=0)
        if ema_decay is not None:
            check_decays("ema_decay", [ema_decay])
        self.ema_decay = ema_decay
        self.ema_warmup = check_flag("ema_warmup", ema_warmup)
        check_choice("precision", precision, ("float32", "bf16"))
        self.precision = precision
        self.accumulate = check_int("accumulate", accumulate, minimum=1)
        if checkpoint is not None and checkpoint != "auto":
            check_int("checkpoint", checkpoint, minimum=1)
        self.checkpoint = checkpoint
        self.skip_nonfinite = check_flag("skip_nonfinite", skip_nonfinite)
        self.max_minutes = (
            None if max_minutes is None else check_positive("max_minutes", max_minutes)
        )
        check_choice("decay", decay, DECAYS)
        if decay != "gamma" and lr_scheduler is not None:
            raise ValueError(f"decay must be 'gamma' with an lr_scheduler, got {decay!r}")
        self.decay: Decay = decay
        self.final_lr = check_share("final_lr", final_lr)
        self.first_steps = check_share("first_steps", first_steps, is_open=True)
        self.adam_lr = check_positive("adam_lr", adam_lr)
        check_decays("muon_momentum", [muon_momentum])
        self.muon_momentum = muon_momentum
        self.muon_iterations = check_int("muon_iterations", muon_iterations, minimum=1)
        if muon_iterations > _MOST_ITERATIONS:
            raise ValueError(
                f"muon_iterations must be at most {_MOST_ITERATIONS}, got {muon_iterations}"
            )
        self.recipe = recipe
        check_accelerator(accelerator)
        self.accelerator = accelerator

    def clone_for(self, nca: AbstractNCAModel, model_path: PathLike | None) -> Self:
        """Return a trainer with the same settings for another model and run folder.

        Each training of a cross-validation or a search gets one. The pool of the new trainer is
        empty, so that nothing leaks from one training into another.

        Args:
            nca: Model to train.
            model_path: Its run folder; None to save nothing.

        Raises:
            ValueError: If the schedule is an object: it trains the model of its optimiser. Give a
                function that makes one instead.
        """
        if isinstance(self.lr_scheduler, LRScheduler):
            raise ValueError(
                "lr_scheduler must be a function from optimiser to scheduler for a trainer to be "
                f"cloned, got a {type(self.lr_scheduler).__name__} of one optimiser"
            )
        settings = self.settings()
        if self.pool is not None:
            settings["pool"] = self.pool.clone()
        return type(self)(nca, model_path, **settings)

    def settings(self) -> dict[str, Any]:
        """Return the arguments of the constructor other than model and folder, as they are now."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names if name not in _OF_ONE_RUN}

    def info(self) -> str:
        """Describe the training in Markdown.

        Returns:
            Table of the trainer's parameters, and the size of the model.
        """
        rows = {
            "model": type(self.nca).__name__,
            "trainable parameters": self.nca.num_trainable_parameters(),
            **{name: getattr(self, name) for name in _SHOWN},
        }
        lines = [f"| {name.replace('_', ' ')} | {value} |" for name, value in rows.items()]
        return "\n".join(["### BasicNCATrainer", "", "| parameter | value |", "|---|---|", *lines])

    def _make_optimizers(self) -> tuple[Optimizer, Optimizer | None, LRScheduler]:
        """Create optimiser and schedule for the model as it is now."""
        head = self.nca.head
        head_optimizer = None if head is None else head.optimizer
        # A head with an optimiser of its own is stepped by that one, and by no other.
        own = set() if head is None or head_optimizer is None else set(head.parameters())
        trained = [p for p in self.nca.parameters() if p.requires_grad and p not in own]
        if isinstance(self.lr_scheduler, LRScheduler):
            optimizer = self.lr_scheduler.optimizer
        else:
            muon = MuonOptions(self.adam_lr, self.muon_momentum, self.muon_iterations)
            optimizer = make_optimizer(
                self.optimizer_method, self.nca, trained, self.lr, self.adam_betas, muon=muon
            )
        gamma = self.lr_gamma if self.decay == "gamma" else 1.0
        return optimizer, head_optimizer, schedule(optimizer, self.lr_scheduler, gamma)

    def _train_iteration(
        self,
        x: Tensor,
        y: Tensor,
        optimizer: Optimizer,
        head_optimizer: Optimizer | None,
        total_batch_iterations: int,
        summary_writer: "SummaryWriter | None" = None,
    ) -> tuple[Prediction, dict[str, Tensor]]:
        """Take one optimiser step on one batch.

        Args:
            x: States, shape ``(B, C, W, H)``, on the model's device.
            y: Labels, batch first.
            optimizer: Optimiser of the model.
            head_optimizer: Optimiser of the head, if it has one of its own.
            total_batch_iterations: Number of iterations done before.
            summary_writer: Where to write this iteration's loss terms.

        Returns:
            Prediction and loss terms, both without their graph.
        """
        optimizers = [optimizer] if head_optimizer is None else [optimizer, head_optimizer]
        step = Step(self, optimizers)
        step.taken = total_batch_iterations
        step.start()
        steps = interpret_range_parameter(self.nca.training_timesteps)
        prediction, losses = step.backward(x, y, steps, counted=len(x), total=len(x))
        step.finish(total_batch_iterations + 1)
        records = Records(summary_writer, Guard())
        records.losses(losses, total_batch_iterations)
        records.flush()
        return prediction, losses

    def train(
        self,
        dataloader_train: DataLoader[Any],
        dataloader_val: DataLoader[Any] | None = None,
        dataloader_test: DataLoader[Any] | None = None,
        save_every: int | None = None,
        summary_writer: "SummaryWriter | None" = None,
        plot_function: Visual | None = None,
        earlystopping: EarlyStopping | None = None,
        *,
        overwrite: bool = False,
        resume: bool = False,
        uncertainty: Estimator | None = None,
        on_epoch: OnEpoch | None = None,
    ) -> TrainingHistory:
        """Train the model.

        The best epoch is that of the best ``validation_metric`` if there are validation data, of
        the lowest training loss otherwise. Ctrl-C ends the training in good order: everything is
        saved and the history is returned; to go on, resume. An error in model, loss, data or a
        metric ends it, too, once everything up to the last whole step is saved. What only looks at
        a training (figures, writer, estimator, progress display) ends none: it is warned of once,
        in the log.

        Resuming continues as if the training had never stopped: on the CPU, to the bit. Only
        ``max_epochs``, ``max_minutes`` and the patience of early stopping may have changed. What
        random transforms draw in workers that persist over epochs (``persistent_workers``) is not
        repeated.

        Where the training data tell how their images are prepared (``dataset.preparation``), the
        model takes that over, and it is saved with it.

        Args:
            dataloader_train: Yields (images or states, labels).
            dataloader_val: Likewise; measured after each epoch.
            dataloader_test: Likewise; measured once, with the best weights.
            save_every: Number of epochs between saves and figures. None: every epoch, or less
                often where saving would take more than a tenth of the time. The last epoch is
                always saved.
            summary_writer: TensorBoard writer for losses, metrics, learning rate,
                hyper-parameters and figures.
            plot_function: Draws a training batch; if None, the model's own visual or that of an
                installed package.
            earlystopping: Ends the training when the metric (or training loss) stops improving.
            overwrite: Whether a run that the folder already holds may be replaced.
            resume: Whether to go on with the run in the folder; an empty folder starts one.
            uncertainty: Estimator of the model's uncertainty (ncalab-uncertainty has some), whose
                heat maps of the first validation batch go to TensorBoard along with the figures.
                It changes nothing about the training. ncalab-viz draws them.
            on_epoch: Called after each epoch with its number, from 1, and its values by name: loss
                terms, metrics and learning rate. An error in it ends no training.

        Returns:
            History. The model has the last weights, ``history.best_model`` the best ones.

        Raises:
            TypeError: If an argument has another type, or the model cannot be saved.
            ValueError: If the model has nothing to train or cannot be copied or saved; if the
                estimator cannot estimate its predictions; if the run folder cannot be written
                to, holds a run that is neither to be resumed nor replaced, or one of another
                model or configuration; if a checkpoint is damaged, a loader is empty or yields no
                pairs, or the validation metric is not known or has several values.
            RuntimeError: If loss or gradients are no longer finite; saved files stay as they are.
            OSError: If the run can no longer be saved; what was saved before is whole.
        """
        check_folder_options(self.model_path, overwrite=overwrite, resume=resume)
        check_loaders({"train": dataloader_train, "val": dataloader_val, "test": dataloader_test})
        if dataloader_val is not None:
            check_metric(self.nca)
        check_observers(
            self.nca,
            dataloader_val,
            save_every=save_every,
            writer=summary_writer,
            visual=plot_function,
            uncertainty=uncertainty,
        )
        if on_epoch is not None:
            check_function("on_epoch", on_epoch)
        check_model(self.nca, saved=self.model_path is not None)
        processes = find_processes(self.accelerator, self.nca.device)
        if processes.device is not None:
            self.nca.to(processes.device)
        take_preparation(self.nca, dataloader_train, dataloader_val, dataloader_test)
        generators = find_generators(dataloader_train, dataloader_val, self.pool)
        processes.start(self.nca, generators)
        run = Run(self, dataloader_train, dataloader_val, summary_writer, earlystopping, processes)
        run.on_epoch = on_epoch if processes.is_main else None
        with tidied(self.model_path if processes.is_main else None):
            if self.model_path is not None:
                going_on = prepare_folder(
                    self.model_path, resume=resume, overwrite=overwrite, size=run.saver.size()
                )
                # Nobody writes before all have looked.
                processes.wait()
                if going_on:
                    run.saver.resume()
            if summary_writer is not None and processes.is_main:
                run.watch(self.info(), plot_function, uncertainty)
            with run.step.operation_threads:
                return self._train(run, processes, save_every, dataloader_test)

    def _train(
        self,
        run: Run,
        processes: OneProcess,
        save_every: int | None,
        dataloader_test: DataLoader[Any] | None,
    ) -> TrainingHistory:
        """Train from where the run stands; whatever ends it, keep what was trained."""
        try:
            with run.interrupts:
                self._train_epochs(run, processes, save_every)
        except KeyboardInterrupt:
            if processes.count > 1:
                # Others may be within another step: what is on disk is what all agree on.
                raise
            return run.interrupt()
        except Exception:
            if processes.count == 1:
                run.rescue()
            raise
        return run.finish(dataloader_test)

    def _train_epochs(self, run: Run, processes: OneProcess, save_every: int | None) -> None:
        """Train from where the run stands to its end."""
        loader, done = run.train, run.history.current_epoch
        sized = hasattr(loader.dataset, "__len__")
        with Progress(
            enabled=self.progress and processes.is_main,
            epochs=self.max_epochs if self.max_minutes is None else None,
            done=done,
            batches=len(loader) if sized else None,
            guard=run.guard,
        ) as run.progress:
            for epoch in self._epochs(run):
                if run.earlystopping is not None and run.earlystopping.done():
                    logger.info("stopped early after epoch %d", epoch - 1)
                    break
                run.epoch(epoch)
                if run.saver.is_due(epoch, save_every):
                    run.saver.save()
                    if run.figures is not None:
                        run.figures.draw()

    def _epochs(self, run: Run) -> Iterator[int]:
        """Count the epochs that are left, from 1, up to the limit or while there is time."""
        if self.max_minutes is None:
            yield from range(run.history.current_epoch + 1, self.max_epochs + 1)
            return
        while not run.is_out_of_time():
            yield run.history.current_epoch + 1


_SHOWN = (
    "model_path",
    "optimizer_method",
    "lr",
    "lr_gamma",
    "adam_betas",
    "gradient_clipping",
    "gradient_normalization",
    "batch_repeat",
    "max_epochs",
    "pool",
    "lr_scheduler",
    "warmup_steps",
    "ema_decay",
    "ema_warmup",
    "precision",
    "accumulate",
    "checkpoint",
    "recipe",
    "max_minutes",
    "decay",
    "final_lr",
    "first_steps",
    "adam_lr",
    "muon_momentum",
    "muon_iterations",
)
