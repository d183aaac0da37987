"""The result of a rollout."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from ncalab.core.checks import check_int, check_type

if TYPE_CHECKING:
    from ncalab.core.model import AbstractNCAModel

Array = np.ndarray


def _to_numpy(x: Tensor) -> Array:
    # numpy has no bfloat16, which autocast may leave behind.
    x = x.detach().cpu()
    array: Array = x.float().numpy() if x.dtype.itemsize < 4 else x.numpy()
    return array


class Prediction:
    """State of all cells after a number of steps, and what was read out of it.

    Arrays are copied to the CPU when they are first asked for, and only then.

    Args:
        model: Model that made the prediction.
        steps: Number of steps taken.
        output_image: Cell states, shape ``(B, C, W, H)``, channels image | hidden | output.
        logits: Raw scores of the task: the head's prediction if there is a head, else the output
            channels if there are any, else the image channels.
        head_prediction: What the model's head made of the hidden channels, None without a head.

    Raises:
        TypeError: If ``steps`` is no integer, or what must be a tensor is none.
        ValueError: If ``steps`` is negative.
    """

    def __init__(
        self,
        model: "AbstractNCAModel",
        steps: int,
        output_image: Tensor,
        logits: Tensor,
        head_prediction: Tensor | None = None,
    ) -> None:
        check_type("output_image", output_image, Tensor)
        check_type("logits", logits, Tensor)
        check_type("head_prediction", head_prediction, Tensor, optional=True)
        self.model = model
        self.steps = check_int("steps", steps, minimum=0)
        self.output_image = output_image
        self.logits = logits
        self.head_prediction = head_prediction

    def __repr__(self) -> str:
        names = ["output_image", "logits"]
        names += [] if self.head_prediction is None else ["head_prediction"]
        shapes = ", ".join(f"{name}={tuple(getattr(self, name).shape)}" for name in names)
        device = str(self.output_image.device)
        return f"{type(self).__name__}(steps={self.steps}, {shapes}, device={device!r})"

    @property
    def image_channels(self) -> Tensor:
        """Image channels, shape ``(B, image channels, W, H)``."""
        return self.output_image[:, : self.model.num_image_channels]

    @property
    def hidden_channels(self) -> Tensor:
        """Hidden channels, shape ``(B, hidden channels, W, H)``."""
        first = self.model.num_image_channels
        return self.output_image[:, first : first + self.model.num_hidden_channels]

    @property
    def output_channels(self) -> Tensor:
        """Output channels, shape ``(B, output channels, W, H)``; there may be none."""
        first = self.model.num_image_channels + self.model.num_hidden_channels
        return self.output_image[:, first:]

    @cached_property
    def output_array(self) -> Array:
        """All channels, shape ``(B, C, W, H)``, on the CPU."""
        return _to_numpy(self.output_image)

    @cached_property
    def image_channels_np(self) -> Array:
        """Image channels, shape ``(B, image channels, W, H)``, on the CPU."""
        return self.output_array[:, : self.model.num_image_channels]

    @cached_property
    def hidden_channels_np(self) -> Array:
        """Hidden channels, shape ``(B, hidden channels, W, H)``, on the CPU."""
        first = self.model.num_image_channels
        return self.output_array[:, first : first + self.model.num_hidden_channels]

    @cached_property
    def output_channels_np(self) -> Array:
        """Output channels, shape ``(B, output channels, W, H)``, on the CPU."""
        first = self.model.num_image_channels + self.model.num_hidden_channels
        return self.output_array[:, first:]

    @cached_property
    def head_prediction_array(self) -> Array | None:
        """The head's prediction on the CPU, None without a head."""
        return None if self.head_prediction is None else _to_numpy(self.head_prediction)

    @cached_property
    def logits_array(self) -> Array:
        """Raw scores of the task, on the CPU."""
        return _to_numpy(self.logits)

    def __getitem__(self, sample: int) -> "Prediction":
        """Return the prediction of one sample, as a batch of one.

        Raises:
            IndexError: If there is no such sample.
        """
        batch = self.output_image.shape[0]
        if not -batch <= sample < batch:
            raise IndexError(f"sample must be in [-{batch}, {batch}), got {sample}")
        one = slice(sample % batch, sample % batch + 1)
        head = None if self.head_prediction is None else self.head_prediction[one]
        return type(self)(self.model, self.steps, self.output_image[one], self.logits[one], head)

    def detach(self) -> "Prediction":
        """Return the same prediction without its autograd graph."""
        head = None if self.head_prediction is None else self.head_prediction.detach()
        state, logits = self.output_image.detach(), self.logits.detach()
        return type(self)(self.model, self.steps, state, logits, head)
