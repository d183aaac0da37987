"""The model that runs another one from coarse to fine."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any, Self

import torch
from torch import Tensor, nn

from ncalab.core import AbstractNCAModel, Prediction, interpret_range_parameter
from ncalab.core.checks import check_flag, check_int, check_state, check_timesteps
from ncalab.core.evaluation import evaluating
from ncalab.core.export_plan import ExportPlan
from ncalab.core.fire import draw_seed
from ncalab.core.preparation import PREPARATION_KEY
from ncalab.core.rollout import Checkpoint, Engine, OnStep, StageOptions
from ncalab.tasks.cascade.delegation import Delegation
from ncalab.tasks.cascade.export import cascade_plan
from ncalab.tasks.cascade.grids import share_steps
from ncalab.tasks.cascade.stages import Stage, Tile, run_stages

Steps = int | tuple[int, int] | list[int] | None
"""Steps of a cascade: in all, a range of that, per scale, or those it was made with."""

# How far the number of steps of a training rollout may be off, to both sides.
_JITTER = 0.2


class CascadeNCA(Delegation, AbstractNCAModel):  # type: ignore[override]  # task is a property here
    """Run a model at several scales, from coarse to fine, in place of the model itself.

    The first scale starts from the downscaled image. Each next one goes on from the upscaled
    states of the one before, with the image channels replaced by the image at its own scale
    (unless the model draws into them). What comes out has the size of the input. A step at scale
    s reaches s times as far, and costs 1/s² of a step at full size.

    Everything else is the wrapped model's: its loss, metrics, head and read-out, its attributes
    (setting one sets it at all scales), and its methods, which predict at all scales, too.

    Steps are counted through all scales: the fire masks and the temporal encoding of the second
    scale go on where the first one ended. T of the temporal encoding stays that of the wrapped
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
        inference_timesteps: Likewise for predictions. None: exactly ``steps``.

    Raises:
        TypeError: If ``wrapped`` is no model, or a cascade itself, or a number is no integer.
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
        self.scales = _positive_integers("scales", scales)
        self.steps = _positive_integers("steps", steps)
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

    def _plan(self, steps: Steps, generator: torch.Generator | None = None) -> list[int]:
        """Return the number of steps at each scale."""
        if isinstance(steps, list):
            plan = _positive_integers("steps", steps)
            if len(plan) != len(self.scales):
                raise ValueError(
                    f"steps must hold one number for each of the scales {self.scales}, got {steps}"
                )
            return plan
        if steps is None:
            steps = self.training_timesteps if self.training else self.inference_timesteps
        return share_steps(interpret_range_parameter(steps, generator=generator), self.steps)

    def _run_stages(self, x: Tensor, steps: int, options: StageOptions) -> Tensor:
        if options["start"] != 0:
            raise ValueError(f"start must be 0 for a cascade, got {options['start']}")
        return self._run(x, self._plan(steps), options)[0]

    def _run(
        self, x: Tensor, plan: list[int], options: StageOptions, tile: Tile = None
    ) -> tuple[Tensor, int]:
        """Run the steps of a plan; return the states at full size and the steps taken."""
        stages = [Stage(*stage) for stage in zip(self.models, self.scales, plan, strict=True)]
        return run_stages(x, stages, self._num_fixed_channels, options, tile)

    @property
    def _num_fixed_channels(self) -> int:
        return self.num_image_channels if self.immutable_image_channels else 0

    def _go_on(
        self, x: Tensor, steps: int, *, start: int, seed: int, samples: Sequence[int]
    ) -> Tensor:
        stage = Stage(self.models[-1], self.scales[-1], steps)
        options = _options(x, seed, samples, "auto")
        options["start"] = start
        return run_stages(x, [stage], self._num_fixed_channels, options)[0]

    def _forward_step(
        self,
        x: Tensor,  # noqa: ARG002
        step: int,  # noqa: ARG002
    ) -> Tensor:
        raise TypeError(
            "a cascade takes its steps at several scales: call rollout or predict, "
            "or a step of one of its models"
        )

    def _coarse_steps(self, steps: int) -> int:
        return sum(self._plan(steps)[:-1])

    def _export_plan(self) -> ExportPlan:
        return cascade_plan(self.models, self.scales, self.steps, self._num_fixed_channels)

    def forward(
        self,
        x: Tensor,
        steps: Steps = None,
        *,
        seed: int | None = None,
        samples: Sequence[int] | None = None,
        engine: Engine = "auto",
        checkpoint: Checkpoint = None,
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
            checkpoint: What the backward pass keeps of the states at each scale; likewise.

        Returns:
            Prediction after the last step, its states at full size.

        Raises:
            TypeError: If ``x`` is no floating-point tensor, or ``steps`` of another type.
            ValueError: If ``x`` has other than C channels, or a scale would have no step.
        """
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        plan = self._plan(steps, generator)
        check_state("x", x, self.num_channels)
        options = _options(x, seed, samples, engine, checkpoint=checkpoint)
        state, taken = self._run(x, plan, options)
        return self._read_out(state, taken)

    def predict(
        self,
        image: Tensor,
        steps: Steps = None,
        *,
        seed: int | None = None,
        samples: Sequence[int] | None = None,
        engine: Engine = "auto",
        on_step: OnStep | None = None,
        tile: Tile = None,
    ) -> Prediction:
        """Predict from images at all scales, without gradients and in evaluation mode.

        Args:
            image: Images ``(B, image channels, W, H)`` or states ``(B, C, W, H)`` of any size,
                floating point, on any device; not changed.
            steps: As in :meth:`forward`; ``inference_timesteps`` if None.
            seed: Seed of padding noise, number of steps and fire masks. None: all are drawn from
                torch's default CPU generator.
            samples: As in :meth:`forward`.
            engine: As in :meth:`forward`.
            on_step: Called after every step with (steps taken so far, state at full size); true
                ends the prediction, also at a coarse scale.
            tile: For images whose rollout does not fit into memory: how many columns of each
                grid to run at a time, or "auto"; see :func:`ncalab.core.rollout.tiled_rollout`.

        Returns:
            Prediction after the last step taken, of the size of the image.

        Raises:
            TypeError: If ``image`` is no floating-point tensor, or ``steps`` of another type.
            ValueError: If ``image`` is not 4-D or has a wrong number of channels, a scale would
                have no step, or ``on_step`` and ``tile`` are both given.
        """
        if tile is not None and on_step is not None:
            raise ValueError("on_step must be None for a tiled prediction, whose steps overlap")
        with torch.no_grad(), evaluating(self):
            generator = None if seed is None else torch.Generator().manual_seed(seed)
            plan = self._plan(self.inference_timesteps if steps is None else steps, generator)
            x = self._first_state(image, generator)
            options = _options(x, seed, samples, engine, on_step=on_step)
            state, taken = self._run(x, plan, options, tile)
            return self.post_prediction(self._read_out(state, taken))

    def record(
        self,
        image: Tensor,
        steps: Steps = None,
        *,
        seed: int | None = None,
        samples: Sequence[int] | None = None,
        engine: Engine = "auto",
    ) -> list[Prediction]:
        """Predict, and keep the prediction after every step at every scale.

        Args:
            image: As in :meth:`predict`.
            steps: As in :meth:`predict`.
            seed: As in :meth:`predict`.
            samples: As in :meth:`predict`.
            engine: As in :meth:`predict`.

        Returns:
            As many predictions as steps, all of the size of the image: what the prediction would
            be if it ended there. The last one equals :meth:`predict` for the same seed.
        """
        record: list[Prediction] = []

        def keep(step: int, state: Tensor) -> bool:
            record.append(self.post_prediction(self._read_out(state, step)))
            return False

        self.predict(image, steps, seed=seed, samples=samples, engine=engine, on_step=keep)
        return record

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


def _positive_integers(name: str, values: Any) -> list[int]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise TypeError(f"{name} must be a list of integers, got {values!r}")
    if not values:
        raise ValueError(f"{name} must hold at least one number, got {values!r}")
    return [check_int(f"{name}[{place}]", value, minimum=1) for place, value in enumerate(values)]


def _copy_rule(model: AbstractNCAModel) -> AbstractNCAModel:
    """Copy a model without what is read out at full size only: it would never be trained."""
    left_out: dict[int, Any] = {id(model.metrics): nn.ModuleDict()}
    if model.head is not None:
        left_out[id(model.head)] = None
    return deepcopy(model, left_out)


def _options(
    x: Tensor,
    seed: int | None,
    samples: Sequence[int] | None,
    engine: Engine,
    *,
    on_step: OnStep | None = None,
    checkpoint: Checkpoint = None,
) -> StageOptions:
    """Collect what the rollouts of all scales have in common, with one seed for them all."""
    return StageOptions(
        start=0,
        seed=draw_seed() if seed is None else seed,
        samples=range(len(x)) if samples is None else samples,
        engine=engine,
        on_step=on_step,
        checkpoint=checkpoint,
    )
