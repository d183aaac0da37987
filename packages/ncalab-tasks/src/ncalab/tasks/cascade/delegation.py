"""Delegation from a model that wraps another one to that one."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, Prediction, Preparation
from ncalab.tasks.cascade.front import at_all_scales

# Read at the full size, by the wrapped model alone.
_READ_OUT = frozenset({"head", "metrics"})


class Delegation(nn.Module):
    """Attributes and methods that a wrapping model takes from the wrapped one: all but the rollout.

    Attributes:
        wrapped: The wrapped model. Attributes that this one does not have are read from it, and
            set on it.
    """

    wrapped: AbstractNCAModel

    @property
    def device(self) -> torch.device:
        """Device that holds the model."""
        return self.wrapped.device

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the model."""
        return self.wrapped.dtype

    @property
    def task(self) -> str:
        """Task of the wrapped model."""
        return self.wrapped.task

    @property
    def preparation(self) -> Preparation | None:
        """Preparation of the images that the models were trained on, if that is known."""
        return self.wrapped.preparation

    @preparation.setter
    def preparation(self, value: Preparation | None) -> None:
        for model in self._all_models():
            model.preparation = value

    def _all_models(self) -> list[AbstractNCAModel]:
        """Return every model that runs steps, once."""
        return [self.wrapped]

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            # A half-made model (while it is copied or unpickled) has nothing to ask.
            if name.startswith("__") or not self._is_complete():
                raise
        return getattr(at_all_scales(self), name)

    def __setattr__(self, name: str, value: Any) -> None:
        if not self._is_complete() or self._is_own(name) or not hasattr(self.wrapped, name):
            super().__setattr__(name, value)
            return
        self._set_on_models(name, value)

    def _set_on_models(self, name: str, value: Any) -> None:
        """Set an attribute of the wrapped model at all scales; what is read out, at the last."""
        for model in [self.wrapped] if name in _READ_OUT else self._all_models():
            setattr(model, name, value)

    def _is_complete(self) -> bool:
        return "wrapped" in self.__dict__.get("_modules", {})

    def _is_own(self, name: str) -> bool:
        return name in self.__dict__ or name in self._modules or hasattr(type(self), name)

    def __dir__(self) -> list[str]:
        return sorted({*dir(type(self)), *self.__dict__, *dir(self.wrapped)})

    def prepare_input(self, x: Tensor) -> Tensor:
        """Preprocess images as the wrapped model does: once, at full size."""
        return self.wrapped.prepare_input(x)

    def loss(self, pred: Prediction, label: Tensor) -> dict[str, Tensor]:
        """Return the wrapped model's loss of a prediction at full size."""
        return self.wrapped.loss(pred, label)

    def sample_losses(self, pred: Prediction, label: Tensor) -> Tensor:
        """Return the wrapped model's total loss of each sample, shape ``(B,)``."""
        return self.wrapped.sample_losses(pred, label)

    def post_prediction(self, prediction: Prediction) -> Prediction:
        """Finish a prediction as the wrapped model does."""
        return self.wrapped.post_prediction(prediction)

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return a prediction in the unit of the wrapped model's task."""
        return self.wrapped.interpret(prediction)

    def export_outputs(self, prediction: Prediction) -> dict[str, Tensor]:
        """Name what an exported cascade returns, as the wrapped model does."""
        return self.wrapped.export_outputs(prediction)

    def _update_metrics(self, prediction: Prediction, label: Tensor) -> None:
        self.wrapped._update_metrics(prediction, label)

    def finetune(self, freeze_head: bool = False) -> None:
        """Prepare the model of every scale for fine-tuning, as the wrapped model would be.

        Args:
            freeze_head: Whether to freeze the whole head; otherwise it stays trainable.
        """
        for model in self._all_models():
            model.finetune(freeze_head)
        self.train()

    def validate(
        self, dataloader: DataLoader[Any], steps: int | None = None, **options: Any
    ) -> tuple[dict[str, float], list[Prediction]]:
        """Measure the predictions of labelled images, as the wrapped model does.

        Args:
            dataloader: Yields (images, labels).
            steps: Number of steps in all; ``inference_timesteps`` if None.
            **options: Further arguments of the wrapped model's ``validate``.

        Returns:
            Value of each metric over all images, and the predictions batch by batch.

        Raises:
            ValueError: If the loader is empty.
        """
        # Its loop, whatever it does, must predict with this model.
        measured: tuple[dict[str, float], list[Prediction]]
        measured = at_all_scales(self).validate(dataloader, steps, **options)
        return measured

    @property
    def time_scale(self) -> int:
        """Number of steps T of the temporal encoding: the wrapped model's."""
        return self.wrapped.time_scale

    def encode_goal(self, goal: Tensor | None, batch: int) -> Tensor | None:
        """Return what cells perceive of the goals of a batch at the last scale."""
        return self.wrapped.encode_goal(goal, batch)

    def _alive(self, x: Tensor) -> Tensor:
        return self.wrapped._alive(x)

    def _update(self, x: Tensor, step: int) -> Tensor:
        return self.wrapped._update(x, step)

    def _post_forward_step(self, x: Tensor) -> Tensor:
        return self.wrapped._post_forward_step(x)

    def read_out(self, state: Tensor, step: int) -> Prediction:
        """Read a prediction out of states as the wrapped model does."""
        prediction = self.wrapped.read_out(state, step)
        prediction.model = self  # type: ignore[assignment]  # it is one by its other base class
        return prediction
