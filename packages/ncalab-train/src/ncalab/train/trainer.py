"""The training loop."""

import inspect
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.argument_types import check_path
from ncalab.core.checks import check_choice, check_function, check_type
from ncalab.core.rollout import Checkpoint
from ncalab.core.saving import PathLike
from ncalab.train.batches import whole_batch
from ncalab.train.budget import Decay
from ncalab.train.callbacks import (
    Callback,
    OnEpoch,
    Requests,
    TensorBoardLogger,
    check_callbacks,
    make_callbacks,
)
from ncalab.train.config import CONFIG_NAMES, TrainingConfig
from ncalab.train.distributed import check_accelerator, find_processes
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.ending import train_to_the_end
from ncalab.train.fingerprint import describe_run
from ncalab.train.guard import Guard
from ncalab.train.history import TrainingHistory
from ncalab.train.loop import TrainingLoop
from ncalab.train.metrics import check_metric, higher_is_better
from ncalab.train.optimizer_step import OptimizerStep
from ncalab.train.optimizers import (
    OPTIMIZERS,
    MuonOptions,
    SchedulerFactory,
    check_plateau,
    check_scheduled_parameters,
    default_lr,
    make_optimizer,
    schedule,
)
from ncalab.train.pool import Pool
from ncalab.train.preflight import (
    check_folder_options,
    check_goals,
    check_loaders,
    check_model,
    check_observers,
)
from ncalab.train.preparation import take_preparation
from ncalab.train.random_state import find_generators
from ncalab.train.recipe import Recipe, RecipeName, filled_by_recipe
from ncalab.train.run_folder import tidied
from ncalab.train.visuals import Estimator, Visual

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch.utils.tensorboard import SummaryWriter

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
        lr: Initial learning rate; if None, that of the recipe, or without one 16e-4 for Adam and
            AdamW, 6e-2 for Muon, 1e-2 for the others.
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
            instead of ``max_epochs``. One batch is trained on at least. What decays does so over
            these minutes, and a resumed training has those that are left.
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

    gradient_clipping: bool
    optimizer_method: str
    lr: float
    lr_gamma: float
    adam_betas: tuple[float, float]
    batch_repeat: int
    max_epochs: int
    gradient_normalization: bool
    scheduler_interval: Literal["epoch", "batch"]
    progress: bool
    warmup_steps: int
    ema_decay: float | None
    ema_warmup: bool
    precision: Literal["float32", "bf16"]
    accumulate: int
    checkpoint: Checkpoint
    skip_nonfinite: bool
    max_minutes: float | None
    decay: Decay
    final_lr: float
    first_steps: float
    adam_lr: float
    muon_momentum: float
    muon_iterations: int

    # The step of the batch that a training is at.
    _step: OptimizerStep | None = None

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
        method = str(optimizer_method).lower()
        check_choice("optimizer_method", method, OPTIMIZERS)
        config = TrainingConfig(
            gradient_clipping=gradient_clipping,
            optimizer_method=method,
            lr=default_lr(method) if lr is None else lr,
            lr_gamma=lr_gamma,
            adam_betas=adam_betas,
            batch_repeat=batch_repeat,
            max_epochs=max_epochs,
            gradient_normalization=gradient_normalization,
            scheduler_interval=scheduler_interval,
            progress=progress,
            warmup_steps=warmup_steps,
            ema_decay=ema_decay,
            ema_warmup=ema_warmup,
            precision=precision,
            accumulate=accumulate,
            checkpoint=checkpoint,
            skip_nonfinite=skip_nonfinite,
            max_minutes=max_minutes,
            decay=decay,
            final_lr=final_lr,
            first_steps=first_steps,
            adam_lr=adam_lr,
            muon_momentum=muon_momentum,
            muon_iterations=muon_iterations,
        )
        for name in CONFIG_NAMES:
            setattr(self, name, getattr(config, name))
        check_type("pool", pool, Pool, optional=True)
        self.pool = pool
        if isinstance(lr_scheduler, LRScheduler):
            check_scheduled_parameters(lr_scheduler, nca)
        elif lr_scheduler is not None and not callable(lr_scheduler):
            raise TypeError(
                "lr_scheduler must be a scheduler or a function from optimiser to scheduler, "
                f"got {lr_scheduler!r}"
            )
        if decay != "gamma" and lr_scheduler is not None:
            raise ValueError(f"decay must be 'gamma' with an lr_scheduler, got {decay!r}")
        self.lr_scheduler = lr_scheduler
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

    def config(self) -> TrainingConfig:
        """Return the settings, as they are now, as one frozen value.

        Raises:
            TypeError: If one was given another type.
            ValueError: If one is out of its range.
        """
        return TrainingConfig(**{name: getattr(self, name) for name in CONFIG_NAMES})

    def _train_iteration(
        self,
        x: Tensor,
        y: Tensor,
        optimizer: Optimizer,
        head_optimizer: Optimizer | None,
        total_batch_iterations: int,
        summary_writer: "SummaryWriter | None" = None,
    ) -> tuple[Prediction, dict[str, Tensor]]:
        """Train on one batch: rollout, loss, gradients, and an optimiser step.

        :meth:`train` calls it for every batch, so a subclass that overrides it changes what a
        training does. What it returns goes into the history and, with a pool, back into the pool.
        An override may change its arguments and call this one once; one that does not call it
        takes the whole step itself, with what the settings say about clipping, warm-up and decay.
        With ``accumulate``, the optimisers step after the last batch of a group.

        Args:
            x: States, shape ``(B, C, W, H)``, on the model's device.
            y: Labels, batch first.
            optimizer: Optimiser of the model.
            head_optimizer: Optimiser of the head, if it has one of its own.
            total_batch_iterations: Number of batches done before.
            summary_writer: TensorBoard writer, for what an override writes. A training writes the
                loss terms that are returned; called outside of one, this method does.

        Returns:
            Prediction and loss terms, both without their graph.
        """
        optimizers = [optimizer] if head_optimizer is None else [optimizer, head_optimizer]
        if self._step is not None:
            return self._step.train(x, y, optimizers)
        step = OptimizerStep(self.nca, self.config(), optimizers)
        step.taken = total_batch_iterations
        step.start(1, number=total_batch_iterations + 1)
        step.begin(whole_batch(x, y))
        prediction, losses = step.train(x, y, optimizers)
        if summary_writer is not None:
            board = TensorBoardLogger(summary_writer, Guard())
            board.add_losses(losses, total_batch_iterations)
            board.flush()
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
        callbacks: Sequence[Callback] = (),
    ) -> TrainingHistory:
        """Train the model.

        The best epoch is that of the best ``validation_metric`` if there are validation data, of
        the lowest training loss otherwise. Ctrl-C ends the training: everything is saved, to be
        resumed, and the history is returned. An error in model, loss, data or a metric ends it,
        too, once everything up to the last whole step is saved. An error in what only shows a
        training (figures, writer, estimator, progress display) does not end it: it is logged once.

        Resuming continues as if the training had never stopped: on the CPU, to the bit. Only
        ``max_epochs``, ``max_minutes`` and the patience of early stopping may have changed. What
        random transforms draw in workers that persist over epochs (``persistent_workers``) is not
        repeated.

        Where the training data name the preparation of their images (``dataset.preparation``), the
        model takes that over, and it is saved with it.

        Args:
            dataloader_train: Yields (images or states, labels).
            dataloader_val: Validation data, as pairs of the same kind; measured after each epoch.
            dataloader_test: Test data, as pairs of the same kind; measured once, with the best
                weights.
            save_every: Number of epochs between saves and figures. None: every epoch, or less
                often where saving would take more than a tenth of the time. The last epoch is
                always saved.
            summary_writer: TensorBoard writer for losses, metrics, learning rate,
                hyper-parameters and figures.
            plot_function: Draws a training batch; if None, the model's own visual or that of an
                installed package.
            earlystopping: Ends the training when the metric (or training loss) stops improving.
            overwrite: Whether a run that the folder already holds may be replaced.
            resume: Whether to resume the run in the folder; in an empty folder, one is started.
            uncertainty: Estimator of the model's uncertainty (ncalab-uncertainty has some), whose
                heat maps of the first validation batch go to TensorBoard along with the figures.
                It changes nothing about the training. ncalab-viz draws them.
            on_epoch: Called after each epoch with its number, from 1, and its values by name: loss
                terms, metrics and learning rate. An error in it does not end the training.
            callbacks: Called at the events of the training: start, batches, epochs, saves, end. An
                error in one ends the training, which is saved first. What they keep by
                ``state_dict`` is saved and restored with the training.

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
        loaders = {"train": dataloader_train, "val": dataloader_val, "test": dataloader_test}
        check_loaders(loaders)
        check_goals(self.nca, loaders)
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
        callbacks = check_callbacks(callbacks)
        check_model(self.nca, saved=self.model_path is not None)
        config, nca = self.config(), self.nca
        processes = find_processes(self.accelerator, nca.device)
        if processes.device is not None:
            nca.to(processes.device)
        take_preparation(nca, dataloader_train, dataloader_val, dataloader_test)
        generators = find_generators(dataloader_train, dataloader_val, self.pool)
        processes.start(nca, generators)
        optimizer, head_optimizer, scheduler = self._make_optimizers()
        optimizers = [optimizer] if head_optimizer is None else [optimizer, head_optimizer]
        higher = dataloader_val is not None and higher_is_better(nca)
        check_plateau(scheduler, higher_is_better=higher)
        writer = summary_writer if processes.is_main else None
        requests = Requests(
            save_every=save_every,
            summary_writer=summary_writer,
            plot_function=plot_function,
            earlystopping=earlystopping,
            uncertainty=uncertainty,
            on_epoch=on_epoch,
            callbacks=callbacks,
            model_path=self.model_path,
            info=self.info(),
            higher_is_better=higher,
        )

        def iterate(
            step: OptimizerStep, x: Tensor, y: Tensor, iteration: int
        ) -> tuple[Prediction, dict[str, Tensor]]:
            self._step = step
            try:
                return self._train_iteration(x, y, optimizer, head_optimizer, iteration, writer)
            finally:
                self._step = None

        loop = TrainingLoop(
            nca=nca,
            config=config,
            settings=describe_run(
                nca,
                self.settings(),
                self.pool,
                optimizers,
                scheduler,
                (dataloader_train, dataloader_val),
                saved=self.model_path is not None,
            ),
            train=dataloader_train,
            val=dataloader_val,
            pool=self.pool,
            optimizers=optimizers,
            scheduler=scheduler,
            generators=generators,
            processes=processes,
            history=TrainingHistory(
                self.model_path,
                {},
                0,
                nca,
                verbose=dataloader_val is not None,
                higher_is_better=higher,
            ),
            iterate=iterate,
            callbacks=make_callbacks(
                requests,
                nca,
                config,
                dataloader_train,
                dataloader_val,
                generators,
                is_main=processes.is_main,
            ),
        )
        with tidied(self.model_path if processes.is_main else None):
            if self.model_path is not None:
                loop.prepare_folder(resume=resume, overwrite=overwrite)
            return train_to_the_end(loop, dataloader_test)


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
