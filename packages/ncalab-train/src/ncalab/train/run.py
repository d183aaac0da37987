"""One training: what the loop carries from epoch to epoch."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau
from torch.utils.data import DataLoader
from tqdm import tqdm

from ncalab.core import Prediction, pad_input
from ncalab.train.early_stopping import EarlyStopping
from ncalab.train.history import TrainingHistory
from ncalab.train.visuals import Visual

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

    from ncalab.train.trainer import BasicNCATrainer


class Run:
    """One training: what the loop carries from epoch to epoch."""

    def __init__(
        self,
        trainer: "BasicNCATrainer",
        train: DataLoader[Any],
        val: DataLoader[Any] | None,
        writer: "SummaryWriter | None",
        earlystopping: EarlyStopping | None,
    ) -> None:
        self.trainer, self.nca = trainer, trainer.nca
        self.train, self.val, self.writer, self.earlystopping = train, val, writer, earlystopping
        self.optimizer, self.head_optimizer, self.scheduler = trainer._make_optimizers()
        self.visual: Visual | None = None
        self.bar: Any = None
        self.iterations = 0
        self.last_batch: tuple[Tensor, Prediction, Tensor] | None = None
        higher = val is not None and self._metric_direction()
        self.history = TrainingHistory(
            trainer.model_path, {}, 0, self.nca, verbose=val is not None, higher_is_better=higher
        )
        if earlystopping is not None and earlystopping.higher_is_better is None:
            earlystopping.higher_is_better = higher

    def _metric_direction(self) -> bool:
        metric = self.nca.named_metrics()[str(self.nca.validation_metric)]
        if not isinstance(direction := getattr(metric, "higher_is_better", None), bool):
            raise ValueError(
                f"validation_metric must know whether higher is better, "
                f"got {self.nca.validation_metric!r}"
            )
        return direction

    def epoch(self, number: int) -> None:
        """Train on all batches, validate, and take note."""
        start = time.perf_counter()
        lr = self.optimizer.param_groups[0]["lr"]
        losses = self._train_on_all_batches(number)
        metrics: dict[str, float] = {}
        if self.val is not None:
            metrics, _ = self.nca.validate(self.val, keep_predictions=False)
        value = metrics[str(self.nca.validation_metric)] if metrics else losses["total"]
        if self.trainer.scheduler_interval == "epoch":
            self._step_schedule(value)
        seconds = time.perf_counter() - start
        self.history.add_epoch(losses, lr=lr, seconds=seconds, metrics=metrics)
        self.history.update(number, self.nca, value)
        if self.earlystopping is not None:
            self.earlystopping.step(value)
        self.bar.set_postfix(epoch=number, loss=f"{losses['total']:.5f}", refresh=False)
        if self.writer is not None:
            self.writer.add_scalar("LR", lr, number)
            for name, measured in metrics.items():
                self.writer.add_scalar(f"Metric/val_{name}", measured, number)

    def _step_schedule(self, value: float | None = None) -> None:
        if isinstance(self.scheduler, ReduceLROnPlateau):
            if value is not None:
                self.scheduler.step(value)
        else:
            self.scheduler.step()

    def _train_on_all_batches(self, number: int) -> dict[str, float]:
        """Return the mean of each loss term, read from the device once."""
        sums: dict[str, Tensor] = {}
        batches = 0
        self.nca.train()
        for batch in self.train:
            losses = self._train_on_batch(batch)
            batches += 1
            for name, value in losses.items():
                sums[name] = sums.get(name, 0) + value
            self.bar.update()
        if not batches:
            raise ValueError("dataloader_train must yield at least one batch, got none")
        means = {name: value / batches for name, value in to_floats(sums).items()}
        if not all(map(math.isfinite, means.values())):
            raise RuntimeError(
                f"loss must stay finite, got {means} in epoch {number}; "
                f"the weights of the last save are unharmed ({self.trainer.model_path})"
            )
        return means

    def _train_on_batch(self, batch: Any) -> dict[str, Tensor]:
        trainer, nca = self.trainer, self.nca
        x, y = _unpack(batch)
        x = nca.prepare_input(x.to(nca.device, nca.dtype))
        x, y = pad_input(x, nca, noise=nca.pad_noise), y.to(nca.device)
        if trainer.batch_repeat > 1:
            x, y = (torch.cat([tensor] * trainer.batch_repeat) for tensor in (x, y))
        if trainer.pool is not None:
            x = trainer.pool.sample(x)
        prediction, losses = trainer._train_iteration(
            x, y, self.optimizer, self.head_optimizer, self.iterations, self.writer
        )
        if trainer.pool is not None:
            losses_of_each = nca.sample_losses(prediction, y)
            trainer.pool.update(prediction.output_image, losses=losses_of_each)
        if trainer.scheduler_interval == "batch":
            self._step_schedule()
        self.iterations += 1
        self.last_batch = (x, prediction, y)
        return losses

    def save(self) -> None:
        """Write the run folder, and a figure of the last batch."""
        self.history.save()
        if self.writer is None or self.visual is None or self.last_batch is None:
            return
        x, prediction, y = self.last_batch
        figure = self.visual.show(
            self.nca, x.detach().cpu().numpy(), prediction, y.detach().cpu().numpy()
        )
        self.writer.add_figure("Training batch", figure, self.history.current_epoch)

    def finish(self, test: DataLoader[Any] | None) -> TrainingHistory:
        """Measure the best weights and save for the last time."""
        self.history.finish()
        if test is not None and self.history.best_model is not None:
            measured, _ = self.history.best_model.validate(test, keep_predictions=False)
            self.history.test_metrics = measured
        self.history.save()
        return self.history


def _unpack(batch: Any) -> tuple[Tensor, Tensor]:
    if not isinstance(batch, tuple | list) or len(batch) < 2:
        raise ValueError(f"batches must be pairs (images, labels), got {type(batch).__name__}")
    return batch[0], batch[1]


def to_floats(values: dict[str, Tensor]) -> dict[str, float]:
    """Read scalars from their device, all at once."""
    numbers = torch.stack([value.float() for value in values.values()]).tolist()
    return dict(zip(values, numbers, strict=True))


@contextmanager
def progress_bar(trainer: "BasicNCATrainer", loader: DataLoader[Any]) -> Iterator[Any]:
    """Show a bar over the batches of all epochs, unless the trainer's is switched off."""
    sized = hasattr(loader.dataset, "__len__")
    total = trainer.max_epochs * len(loader) if sized else None
    with tqdm(total=total, desc="Training", unit="batch", disable=not trainer.progress) as bar:
        yield bar
