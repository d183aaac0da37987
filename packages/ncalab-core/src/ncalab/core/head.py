"""A module that turns the hidden channels of the final state into a downstream prediction."""

from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.optim import Optimizer


class AbstractNCAHead(nn.Module, ABC):
    """Base class of heads.

    Attributes:
        optimizer: Optimizer of the head's own; the trainer then leaves the head's parameters out
            of the model's optimizer. None: they are trained along with the model.
    """

    optimizer: Optimizer | None = None

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Predict from hidden channels.

        Args:
            x: Hidden channels of the final state, shape ``(B, hidden channels, W, H)``.

        Returns:
            Prediction; its shape is up to the task, batch first.
        """

    @abstractmethod
    def freeze(self, freeze_last: bool = True) -> None:
        """Exclude the head's parameters from training.

        Args:
            freeze_last: Whether to freeze the last layer, too.
        """
