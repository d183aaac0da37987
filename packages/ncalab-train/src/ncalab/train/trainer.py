"""The training loop."""

import inspect
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, Prediction, interpret_range_parameter
from ncalab.core.checks import check_choice, check_int
from ncalab.core.saving import PathLike, check_writable_folder
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.history import HISTORY_NAME, TrainingHistory
from ncalab.train.optimizers import (
    OPTIMIZERS,
    SchedulerFactory,
    check_scheduled_parameters,
    default_lr,
    make_optimizer,
    normalize_gradients,
    schedule,
)
from ncalab.train.pool import Pool
from ncalab.train.run import Run, progress_bar, to_floats
from ncalab.train.visuals import Visual, find_visual

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

logger = logging.getLogger(__name__)

_MAX_GRADIENT_NORM = 1.0
_OF_ONE_RUN = ("nca", "model_path")


class BasicNCATrainer:
    """Train any model: rollouts of random length, backpropagation through time, and a history.

    Args:
        nca: Model to train.
        model_path: Run folder for ``last_model.safetensors``, ``best_model.safetensors`` and
            ``history.json``; created when training starts. None: nothing is saved.
        gradient_clipping: Whether to clip the norm of all gradients to 1.
        lr: Initial learning rate; if None, 16e-4 for Adam and AdamW, 1e-2 for the others.
        lr_gamma: Factor of the learning rate per epoch, unless a scheduler is given.
        adam_betas: Averaging coefficients of Adam and AdamW.
        batch_repeat: How often each batch is repeated within itself: more rollouts of the same
            images, with other cells firing.
        max_epochs: Number of epochs.
        optimizer_method: "adam", "adamw", "adagrad", "adafactor", "rmsprop" or "sgd".
        pool: Sample pool that rollouts start from and return to.
        lr_scheduler: A scheduler, whose optimiser is then used, or a function that makes one of
            an optimiser. ReduceLROnPlateau sees the deciding metric.
        gradient_normalization: Whether to scale the gradient of each parameter tensor to
            length 1 before the step (and before clipping), as in Mordvintsev et al. 2020.
        scheduler_interval: Whether the schedule steps per "epoch" or per "batch".
        progress: Whether to show a progress bar.

    Raises:
        TypeError: If an argument has another type.
        ValueError: If one is out of its range, or the scheduler is that of another model.
    """

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
    ) -> None:
        if not isinstance(nca, AbstractNCAModel):
            raise TypeError(f"nca must be an AbstractNCAModel, got {type(nca).__name__}")
        self.nca = nca
        self.model_path = None if model_path is None else Path(model_path)
        self.gradient_clipping = gradient_clipping
        self.optimizer_method = optimizer_method.lower()
        check_choice("optimizer_method", self.optimizer_method, OPTIMIZERS)
        self.lr = default_lr(self.optimizer_method) if lr is None else lr
        for name, value in (("lr", self.lr), ("lr_gamma", lr_gamma)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} must be above 0 and finite, got {value}")
        self.lr_gamma = lr_gamma
        self.adam_betas = adam_betas
        self.batch_repeat = check_int("batch_repeat", batch_repeat, minimum=1)
        self.max_epochs = check_int("max_epochs", max_epochs, minimum=1)
        self.pool = pool
        if isinstance(lr_scheduler, LRScheduler):
            check_scheduled_parameters(lr_scheduler, nca)
        self.lr_scheduler = lr_scheduler
        self.gradient_normalization = gradient_normalization
        check_choice("scheduler_interval", scheduler_interval, ("epoch", "batch"))
        self.scheduler_interval = scheduler_interval
        self.progress = progress

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
        names = list(inspect.signature(type(self)).parameters)
        settings = {name: getattr(self, name) for name in names if name not in _OF_ONE_RUN}
        if self.pool is not None:
            settings["pool"] = self.pool.clone()
        return type(self)(nca, model_path, **settings)

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
            optimizer = make_optimizer(self.optimizer_method, trained, self.lr, self.adam_betas)
        return optimizer, head_optimizer, schedule(optimizer, self.lr_scheduler, self.lr_gamma)

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
        for each in optimizers:
            each.zero_grad()
        prediction = self.nca(x, interpret_range_parameter(self.nca.training_timesteps))
        losses = self.nca.loss(prediction, y)
        losses["total"].backward()
        if self.gradient_normalization:
            normalize_gradients(self.nca.parameters())
        if self.gradient_clipping:
            nn.utils.clip_grad_norm_(self.nca.parameters(), _MAX_GRADIENT_NORM)
        for each in optimizers:
            each.step()
        losses = {name: value.detach() for name, value in losses.items()}
        if summary_writer is not None:
            for name, value in to_floats(losses).items():
                summary_writer.add_scalar(f"Loss/train_{name}", value, total_batch_iterations)
        return prediction.detach(), losses

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
    ) -> TrainingHistory:
        """Train the model.

        The best epoch is that of the best ``validation_metric`` if there are validation data, of
        the lowest training loss otherwise. Ctrl-C ends the training in good order: everything is
        saved and the history is returned.

        Args:
            dataloader_train: Yields (images or states, labels).
            dataloader_val: Likewise; measured after each epoch.
            dataloader_test: Likewise; measured once, with the best weights.
            save_every: Number of epochs between saves and figures, 1 if None. The last epoch is
                always saved.
            summary_writer: TensorBoard writer for losses, metrics, learning rate and figures.
            plot_function: Draws a training batch; if None, the model's own visual or that of an
                installed package.
            earlystopping: Ends the training when the metric (or training loss) stops improving.
            overwrite: Whether a run that the folder already holds may be replaced.

        Returns:
            History. The model has the last weights, ``history.best_model`` the best ones.

        Raises:
            ValueError: If the run folder cannot be written to or holds a run, a loader is empty
                or yields no pairs, or the validation metric is not known.
            RuntimeError: If the loss is no longer finite; saved weights stay as they are.
        """
        save_every = 1 if save_every is None else check_int("save_every", save_every, minimum=1)
        self._check_before(dataloader_train, dataloader_val, overwrite=overwrite)
        run = Run(self, dataloader_train, dataloader_val, summary_writer, earlystopping)
        if summary_writer is not None:
            summary_writer.add_text("Training", self.info())
            run.visual = plot_function or find_visual(self.nca)
        try:
            with progress_bar(self, dataloader_train) as run.bar:
                for epoch in range(1, self.max_epochs + 1):
                    run.epoch(epoch)
                    if epoch % save_every == 0:
                        run.save()
                    if earlystopping is not None and earlystopping.done():
                        logger.info("stopped early after epoch %d", epoch)
                        break
        except KeyboardInterrupt:
            logger.warning("interrupted after epoch %d; saving", run.history.current_epoch)
            run.history.interrupted = True
        return run.finish(dataloader_test)

    def _check_before(
        self,
        dataloader_train: DataLoader[Any],
        dataloader_val: DataLoader[Any] | None,
        *,
        overwrite: bool,
    ) -> None:
        """Raise for everything that would end a training later on."""
        for name, loader in (
            ("dataloader_train", dataloader_train),
            ("dataloader_val", dataloader_val),
        ):
            if loader is not None and hasattr(loader.dataset, "__len__") and len(loader) == 0:
                raise ValueError(
                    f"{name} must yield at least one batch, got none "
                    f"({len(loader.dataset)} samples, drop_last={loader.drop_last})"
                )
        if dataloader_val is not None and str(self.nca.validation_metric) not in self.nca.metrics:
            known = ", ".join(self.nca.metrics) or "none"
            raise ValueError(
                f"validation_metric must be a metric of the model ({known}), "
                f"got {self.nca.validation_metric!r}"
            )
        if self.model_path is not None:
            check_writable_folder(self.model_path, name="model_path")
            if (self.model_path / HISTORY_NAME).exists() and not overwrite:
                raise ValueError(
                    f"model_path must not hold a finished run, got {self.model_path}; "
                    "choose another folder or pass overwrite=True"
                )


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
)
