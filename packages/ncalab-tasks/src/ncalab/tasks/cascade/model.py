"""The model that runs another one from coarse to fine."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from ncalab.core import AbstractNCAModel, Prediction
from ncalab.core.checks import check_flag, check_int, check_positive_integers, check_timesteps
from ncalab.core.multiscale import MultiScale
from ncalab.core.options import Checkpoint, Engine, Steps, total_steps
from ncalab.core.preparation import PREPARATION_KEY
from ncalab.core.rollout import rollout
from ncalab.tasks.cascade.delegation import Delegation

# How far the number of steps of a training rollout may be off, to both sides.
_JITTER = 0.2


class CascadeNCA(Delegation, AbstractNCAModel):  # type: ignore[override]  # task is a property here
    """Run a model at several scales, from coarse to fine; a drop-in replacement of the model.

    The first scale starts from the downscaled image. Each next one continues from the upscaled
    states of the one before, with the image channels replaced by the image at its own scale
    (unless the model draws into them). What comes out has the size of the input. A step at scale
    s reaches s times as far, and costs 1/s² of a step at full size.

    Everything else is the wrapped model's: its loss, metrics, head and read-out, its attributes
    (setting one sets it at all scales), and its methods, which predict at all scales, too.

    Steps are counted through all scales: the fire masks and the temporal encoding of the second
    scale continue where the first one ended. T of the temporal encoding stays that of the wrapped
    model.

    Source: Kalkhof, Gonzalez, Mukhopadhyay, Med-NCA: Robust and Lightweight Segmentation with
    Neural Cellular Automata, 2023, arXiv:2302.03473. Deviations: any number of scales; the whole
    image at every scale instead of a patch of the fine one; states are upscaled bilinearly, as
    sizes need not be multiples of each other.

    Args:
        wrapped: Model to run. It is part of the cascade, and trained with it.
        scales: Sizes of a cell in pixels, one for each scale, in the order in which they are run,
            e.g. ``[4, 2, 1]``. After a last scale other than 1, states are brought to full size.
        steps: Number of steps at each scale.
        single_model: Whether one set of weights serves all scales. Otherwise the last scale has
            ``wrapped`` and each other one a copy, without the head, that starts equal.
        training_timesteps: Number of steps of a training rollout in all, or a range (min, max)
            without max, shared out in proportion to ``steps``. None: their sum, give or take 20 %.
        inference_timesteps: Number of steps of a prediction, or a range. None: exactly ``steps``.

    Raises:
        TypeError: If ``wrapped`` is not a model or is a cascade, or a number is not an integer.
        ValueError: If there are no scales or not as many steps, or a number is below 1.

    >>> from ncalab.tasks import GrowingNCAModel
    >>> model = GrowingNCAModel(torch.device("cpu"), num_hidden_channels=4)
    >>> cascade = CascadeNCA(model, scales=[4, 2, 1], steps=[6, 3, 1])
    >>> prediction = cascade.predict(torch.rand(1, 4, 30, 17))
    >>> prediction.steps, prediction.image_channels.shape
    (10, torch.Size([1, 4, 30, 17]))
    """

    copies: nn.ModuleList

    def __init__(
        self,
        wrapped: AbstractNCAModel,
        scales: Sequence[int],
        steps: Sequence[int],
        single_model: bool = True,
        *,
        training_timesteps: int | tuple[int, int] | None = None,
        inference_timesteps: int | tuple[int, int] | None = None,
    ) -> None:
        # Not AbstractNCAModel's: a cascade has no perception, rule or channels of its own.
        nn.Module.__init__(self)
        if not isinstance(wrapped, AbstractNCAModel) or isinstance(wrapped, CascadeNCA):
            raise TypeError(
                f"wrapped must be an AbstractNCAModel and no cascade, got {type(wrapped).__name__}"
            )
        self.scales = check_positive_integers("scales", scales)
        self.steps = check_positive_integers("steps", steps)
        if len(self.steps) != len(self.scales):
            raise ValueError(
                f"steps must hold one number for each of the scales {self.scales}, got {self.steps}"
            )
        self.single_model = check_flag("single_model", single_model)
        self.training_timesteps = training_timesteps
        self.inference_timesteps = inference_timesteps
        copies = [] if single_model else [_copy_rule(wrapped) for _ in self.scales[1:]]
        self.copies = nn.ModuleList(copies)
        self.training = wrapped.training
        # Last: from here on, unknown attributes are the wrapped model's.
        self.wrapped = wrapped

    # What it is made of

    @property
    def models(self) -> list[AbstractNCAModel]:
        """The model of each scale: the wrapped one every time, or last after its copies."""
        if self.single_model:
            return [self.wrapped] * len(self.scales)
        return self._all_models()

    def _all_models(self) -> list[AbstractNCAModel]:
        copies = [model for model in self.copies if isinstance(model, AbstractNCAModel)]
        return [*copies, self.wrapped]

    @property
    def training_timesteps(self) -> int | tuple[int, int]:
        """Number of steps of a training rollout in all, or a range (min, max) without max."""
        if self._training_timesteps is not None:
            return self._training_timesteps
        total = sum(self.steps)
        low, high = round((1 - _JITTER) * total), round((1 + _JITTER) * total)
        return max(low, len(self.steps)), high + 1

    @training_timesteps.setter
    def training_timesteps(self, value: int | tuple[int, int] | None) -> None:
        self._training_timesteps = self._check_timesteps("training_timesteps", value)

    @property
    def inference_timesteps(self) -> int | tuple[int, int]:
        """Number of steps of a prediction in all, or a range (min, max) without max."""
        return sum(self.steps) if self._inference_timesteps is None else self._inference_timesteps

    @inference_timesteps.setter
    def inference_timesteps(self, value: int | tuple[int, int] | None) -> None:
        self._inference_timesteps = self._check_timesteps("inference_timesteps", value)

    def _check_timesteps(
        self, name: str, value: int | tuple[int, int] | None
    ) -> int | tuple[int, int] | None:
        if value is None:
            return None
        checked = check_timesteps(name, value)
        fewest = checked if isinstance(checked, int) else checked[0]
        check_int(name, fewest, minimum=len(self.scales))
        return checked

    # How it is run

    @property
    def runner(self) -> MultiScale:
        """Runner of the steps at all scales."""
        return MultiScale(self.models, self.scales, self.steps, self.num_fixed_channels)

    def _forward_step(
        self,
        x: Tensor,  # noqa: ARG002 - the signature of the base class
        step: int,  # noqa: ARG002 - the signature of the base class
    ) -> Tensor:
        raise TypeError(
            "a cascade takes its steps at several scales: call rollout or predict, "
            "or a step of one of its models"
        )

    def forward(
        self,
        x: Tensor,
        steps: Steps | None = None,
        *,
        seed: int | None = None,
        samples: Sequence[int] | None = None,
        engine: Engine = "auto",
        checkpoint: Checkpoint = None,
        goal: Tensor | None = None,
    ) -> Prediction:
        """Run all scales, differentiably.

        Args:
            x: States at full size, shape ``(B, C, W, H)`` (see :func:`ncalab.core.pad_input`),
                floating point, on the model's device; not changed. The first scale takes the mean
                of image channels that are fixed, and single cells of all other channels.
            steps: Number of steps in all, at least one per scale, shared out in proportion to
                the cascade's own; a range (min, max) to draw that from; or a list with the number
                at each scale. None: ``training_timesteps`` in training mode,
                ``inference_timesteps`` in evaluation mode.
            seed: Seed of number of steps and fire masks, drawn if None.
            samples: Index of each sample in the fire masks, ``0 ... B - 1`` if None.
            engine: "auto", "reference" or "fused"; see :func:`ncalab.core.rollout.rollout`.
            checkpoint: What the backward pass keeps of the states at each scale: None for all, a
                number of steps for every so many, "auto" for a memory that grows with the root of
                the number of steps. The steps between are then taken again.
            goal: Goal of each sample, for a model with ``goal_size``: vectors
                ``(B, goal_size)``, or indices ``(B,)`` with ``num_goals``.

        Returns:
            Prediction after the last step, its states at full size.

        Raises:
            TypeError: If ``x`` is not a floating-point tensor, or ``steps`` of another type.
            ValueError: If ``x`` has other than C channels, or a scale would have no step.
        """
        if steps is None:
            steps = self.training_timesteps if self.training else self.inference_timesteps
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        count = self._draw_steps(steps, generator)
        state = rollout(
            self,
            x,
            count,
            seed=seed,
            samples=samples,
            engine=engine,
            checkpoint=checkpoint,
            goal=goal,
        )
        return self.read_out(state, total_steps(count))

    # How it is saved

    def _to_dict(self) -> dict[str, Any]:
        wrapped = self.wrapped.to_dict()
        wrapped.pop(PREPARATION_KEY, None)  # the cascade's own, too, and said once
        return {
            "wrapped": wrapped,
            "scales": self.scales,
            "steps": self.steps,
            "single_model": self.single_model,
            "training_timesteps": self._training_timesteps,
            "inference_timesteps": self._inference_timesteps,
        }

    @classmethod
    def _build(cls, arguments: dict[str, Any], device: torch.device) -> Self:
        wrapped = arguments.get("wrapped")
        if not isinstance(wrapped, Mapping):
            raise ValueError(f"d must hold the wrapped model of a {cls.__name__}, got {wrapped!r}")
        try:
            model = AbstractNCAModel.from_dict(dict(wrapped), device=device)
        except (TypeError, ValueError) as error:
            raise ValueError(f"wrapped: {error}") from error
        try:
            return cls(**{**arguments, "wrapped": model})
        except TypeError as error:
            raise ValueError(f"d must hold arguments of {cls.__name__}: {error}") from error


def _copy_rule(model: AbstractNCAModel) -> AbstractNCAModel:
    """Copy a model without what is read out at full size only: it would never be trained."""
    left_out: dict[int, Any] = {id(model.metrics): nn.ModuleDict()}
    if model.head is not None:
        left_out[id(model.head)] = None
    return deepcopy(model, left_out)
