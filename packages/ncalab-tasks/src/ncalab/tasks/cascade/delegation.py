"""How a model comes to stand for another one."""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, Prediction, Preparation

# Read at the full size, by the wrapped model alone.
_READ_OUT = frozenset({"head", "metrics"})


class Guise:
    """A model that wraps another one, in the guise of that one.

    It is the ``self`` of methods that only the wrapped class defines, such as ``classify`` or
    ``grow``: what they call is the wrapping model's, so that they predict with it, while
    ``super()`` and ``isinstance`` take it for an instance of the wrapped class.

    Args:
        model: The wrapping model, which attributes are read from and written to.
    """

    _model: "Delegation"

    def __init__(self, model: "Delegation") -> None:
        object.__setattr__(self, "_model", model)

    @property  # type: ignore[misc]  # what super() asks for, as for any proxy
    def __class__(self) -> type[nn.Module]:  # type: ignore[override]
        return type(self._model.wrapped)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._model, name, value)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the wrapping model."""
        return self._model(*args, **kwargs)


class Delegation(nn.Module):
    """What a wrapping model leaves to the model it wraps: all but the rollout.

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
        """What the training did to images before the models saw them, if that is known."""
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
        value = getattr(self.wrapped, name)
        if isinstance(value, MethodType) and value.__self__ is self.wrapped:
            return MethodType(value.__func__, Guise(self))
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        if not self._is_complete() or self._is_own(name) or not hasattr(self.wrapped, name):
            super().__setattr__(name, value)
            return
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
        validate: Any = MethodType(type(self.wrapped).validate, Guise(self))
        measured: tuple[dict[str, float], list[Prediction]] = validate(dataloader, steps, **options)
        return measured

    def _alive(self, x: Tensor) -> Tensor:
        return self.wrapped._alive(x)

    def _update(self, x: Tensor, step: int) -> Tensor:
        return self.wrapped._update(x, step)

    def _post_forward_step(self, x: Tensor) -> Tensor:
        return self.wrapped._post_forward_step(x)

    def _read_out(self, state: Tensor, steps: int) -> Prediction:
        prediction = self.wrapped._read_out(state, steps)
        prediction.model = self  # type: ignore[assignment]  # it is one by its other base class
        return prediction
