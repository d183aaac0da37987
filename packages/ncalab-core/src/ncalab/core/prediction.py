"""The result of a rollout, and how it is read out of states."""

from functools import cached_property
from typing import ClassVar

import numpy as np
from torch import Tensor

from ncalab.core.automaton import Automaton
from ncalab.core.checks import check_int, check_type
from ncalab.core.head import AbstractNCAHead

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
        TypeError: If ``steps`` is not an integer, or what must be a tensor is none.
        ValueError: If ``steps`` is negative.
    """

    def __init__(
        self,
        model: "PredictingAutomaton",
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
        return self.output_image[:, self.model.channels.image]

    @property
    def hidden_channels(self) -> Tensor:
        """Hidden channels, shape ``(B, hidden channels, W, H)``."""
        return self.output_image[:, self.model.channels.hidden]

    @property
    def output_channels(self) -> Tensor:
        """Output channels, shape ``(B, output channels, W, H)``; there may be none."""
        return self.output_image[:, self.model.channels.output]

    @cached_property
    def output_array(self) -> Array:
        """All channels, shape ``(B, C, W, H)``, on the CPU."""
        return _to_numpy(self.output_image)

    @cached_property
    def image_channels_np(self) -> Array:
        """Image channels, shape ``(B, image channels, W, H)``, on the CPU."""
        return self.output_array[:, self.model.channels.image]

    @cached_property
    def hidden_channels_np(self) -> Array:
        """Hidden channels, shape ``(B, hidden channels, W, H)``, on the CPU."""
        return self.output_array[:, self.model.channels.hidden]

    @cached_property
    def output_channels_np(self) -> Array:
        """Output channels, shape ``(B, output channels, W, H)``, on the CPU."""
        return self.output_array[:, self.model.channels.output]

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
            IndexError: If the index is out of range.
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


class PredictingAutomaton(Automaton):
    """An automaton whose states are read as predictions: of a head, of output or image channels."""

    task: ClassVar[str] = ""
    """Name of the task; a visual is registered under it."""

    head: AbstractNCAHead | None
    """Head that turns hidden channels into a prediction for the whole image, if there is one."""

    def read_out(self, state: Tensor, step: int) -> Prediction:
        """Read a prediction out of states; :meth:`post_prediction` finishes it.

        Args:
            state: States, shape ``(B, C, W, H)``.
            step: Number of steps that were taken.

        Returns:
            Prediction with raw logits.
        """
        channels = self.channels
        if self.head is not None:
            scores: Tensor = self.head(state[:, channels.hidden])
            return Prediction(self, step, state, scores, scores)
        logits = state[:, channels.output if self.num_output_channels else channels.image]
        return Prediction(self, step, state, logits)

    def post_prediction(self, prediction: Prediction) -> Prediction:
        """Finish a prediction of predict or record; never fed back into the rollout.

        Args:
            prediction: Prediction as read from the state.

        Returns:
            Prediction to hand out; the same one by default.
        """
        return prediction

    def interpret(self, prediction: Prediction) -> Tensor:
        """Return a prediction in the unit of its task; what uncertainty is measured on.

        Classes and masks give probabilities, other tasks the values themselves: colours, depth.

        Args:
            prediction: Prediction of this model.

        Returns:
            The logits unless overridden, shape ``(B, K, W, H)``, or ``(B, K)`` where a head
            predicts for whole images.
        """
        return prediction.logits

    def export_outputs(self, prediction: Prediction) -> dict[str, Tensor]:  # noqa: ARG002 - for others
        """Name what an exported model returns besides "logits" and "state"; nothing by default.

        It is recorded, so it must be made of operations on tensors, for grids of any size.

        Args:
            prediction: Prediction of this model, finished by :meth:`post_prediction`.

        Returns:
            Outputs by name.
        """
        return {}
