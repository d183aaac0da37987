"""Models as programs of torch.export."""

from copy import deepcopy
from typing import Literal

import torch
from torch.export import ExportedProgram

from ncalab.core.checks import check_choice, check_flag, check_fraction, check_int
from ncalab.core.export.rollout import ExportedRollout
from ncalab.core.export.steps import BATCH, GRID
from ncalab.core.model import AbstractNCAModel

# The first that was seen to record loops over grids of any size.
OLDEST_TORCH = (2, 13)

Start = Literal["image", "state"]


def export_program(
    model: AbstractNCAModel,
    *,
    steps: int | None = None,
    start: Start | None = None,
    fire_rate: float | None = None,
    unroll: bool = False,
) -> ExportedProgram:
    """Record :meth:`predict` of a model as a program of torch.export.

    The program takes grids of any width and height and batches of any length. Run it with
    ``program.module()(image=..., steps=..., seed=...)``; write it with ``torch.export.save``.

    Args:
        model: Model; not changed. The program has weights of its own.
        steps: Number of steps. None: an input ``steps`` of the program, shape ``()``, int64.
        start: What the input ``image`` holds: "image" for ``(B, image channels, W, H)``, "state"
            for all channels of the cells, ``(B, C, W, H)``. None: "state" for a model that draws
            into its image channels, such as a growing one, or starts from noise.
        fire_rate: Probability that a cell fires in place of the model's own, in [0, 1]. If it is
            neither 0 nor 1, the program has an input ``seed``, shape ``()``, int64, and computes
            the fire masks that ``predict(..., seed=seed)`` has.
        unroll: Whether to record each of the ``steps`` on its own, without a loop: for rules that
            ask for the number of the step by Python's ``if``. The program gets as long as it runs.

    Returns:
        Program with the inputs "image" and, as said above, "steps" and "seed", "goal" for a
        model with ``goal_size``, and a dictionary of outputs: "logits", "state" (all
        channels) and what the model's task adds.

    Raises:
        TypeError: If ``model`` is not a model of this library or ``steps`` not an integer.
        ValueError: If an argument is out of its range, the model starts from noise and ``start``
            is "image", or its operations depend on values or sizes in a way that cannot be
            recorded.

    """
    rollout = as_rollout(model, steps=steps, start=start, fire_rate=fire_rate, unroll=unroll)
    return rollout.record(example_inputs(rollout, choose_start(model, start)))


def parse_version(version: str) -> tuple[int, ...]:
    """Return the first two numbers of a version.

    >>> parse_version("2.13.0+cpu")
    (2, 13)
    """
    return tuple(int(number) for number in version.split(".")[:2])


def choose_start(model: AbstractNCAModel, start: Start | None) -> Start:
    """Return what a prediction starts from, checked.

    Raises:
        ValueError: If images are to be padded with noise, which no exported model draws.
    """
    draws = not model.immutable_image_channels
    if start is None:
        return "state" if draws or model.pad_noise else "image"
    check_choice("start", start, ("image", "state"))
    if start == "image" and model.pad_noise:
        raise ValueError(
            "start must be 'state' for a model that starts from noise (pad_noise=True), "
            "got 'image'; make the state with pad_input"
        )
    return start


def as_rollout(
    model: AbstractNCAModel,
    *,
    steps: int | None,
    start: Start | None,
    fire_rate: float | None,
    unroll: bool,
    device: torch.device | None = None,
) -> ExportedRollout:
    """Check the arguments of an export, and copy the model into what can be recorded.

    Args:
        model: As in :func:`export_program`.
        steps: As in :func:`export_program`.
        start: As in :func:`export_program`.
        fire_rate: As in :func:`export_program`.
        unroll: As in :func:`export_program`.
        device: Where to record it; the model's own if None.
    """
    if parse_version(torch.__version__) < OLDEST_TORCH:
        oldest = ".".join(map(str, OLDEST_TORCH))
        raise ImportError(f"an export needs torch {oldest} or later, got {torch.__version__}")
    if not isinstance(model, AbstractNCAModel):
        raise TypeError(f"model must be a model of ncalab, got {type(model).__name__}")
    choose_start(model, start)
    if steps is not None:
        check_int("steps", steps, minimum=1)
    if fire_rate is not None:
        check_fraction("fire_rate", fire_rate)
    if check_flag("unroll", unroll) and steps is None:
        raise ValueError("steps must be a number where they are unrolled, got None")
    # A copy, so that no mode, device or gradient of the user's model is touched.
    own = deepcopy(model).to(device or model.device).eval().requires_grad_(False)
    return ExportedRollout(own, steps, fire_rate, unroll=unroll)


def example_inputs(rollout: ExportedRollout, start: Start) -> dict[str, torch.Tensor]:
    """Return inputs of the shapes that a program takes."""
    model = rollout.model
    channels = model.num_image_channels if start == "image" else model.num_channels
    image = torch.zeros(BATCH, channels, *GRID[: model.spatial_dims])
    inputs = {"image": image.to(model.device, model.dtype)}
    if rollout.counts is None:
        inputs["steps"] = torch.tensor(len(rollout.steps), device=model.device)
    if rollout.is_random:
        inputs["seed"] = torch.tensor(0, device=model.device)
    if model.num_goals is not None:
        inputs["goal"] = torch.zeros(BATCH, dtype=torch.int64, device=model.device)
    elif model.goal_size:
        inputs["goal"] = inputs["image"].new_zeros(BATCH, model.goal_size)
    return inputs
