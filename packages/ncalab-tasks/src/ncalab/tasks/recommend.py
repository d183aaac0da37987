"""A model for some data: what to begin with when nothing else is known."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ncalab.core import AbstractNCAModel
from ncalab.core.checks import check_choice, check_device
from ncalab.core.task import TaskSpec, all_tasks
from ncalab.tasks.cascade import CascadeNCA
from ncalab.tasks.data_summary import DataSummary, summarize
from ncalab.tasks.scales import (
    TIMESTEPS,
    check_scales,
    check_steps,
    choose_scales,
    choose_steps,
    describe_scales,
    share_timesteps,
)

logger = logging.getLogger(__name__)

# Sides of a patch: pixels at least, and cells at the coarsest scale. Patches of images that are
# not much larger would take away what lies around, and save little.
_PATCH, _PATCH_CELLS, _PATCHES = 96, 12, 4

OF_THE_DATA = ("num_classes", "ignore_index", "spatial_dims")
"""Arguments of a model that say how its data are to be read, as :func:`summarize_data` does."""


@dataclass(frozen=True)
class Recommendation:
    """A model for some data, and why.

    Attributes:
        task: What it is for.
        model: Arguments of the task's model.
        scales: Sizes of a cell in pixels, from coarse to fine; one scale is not a cascade.
        steps: Number of steps at each of them.
        reasons: What was chosen and why, a sentence each.
        patch_size: Side of the patches to train on; None for whole images. None of the reasons is
            about it, as who trains may take whole images.
    """

    task: str
    model: Mapping[str, Any]
    scales: tuple[int, ...]
    steps: tuple[int, ...]
    reasons: tuple[str, ...] = ()
    patch_size: int | None = None

    def timesteps(self) -> dict[str, Any]:
        """Return the steps of a model that runs at one scale, as its arguments."""
        steps = sum(self.steps)
        return {
            "training_timesteps": (max(1, steps * 3 // 4), steps * 5 // 4 + 1),
            "inference_timesteps": steps,
        }

    def given_timesteps(self) -> dict[str, Any]:
        """Return the numbers of steps, over all scales, that were asked for."""
        return {name: self.model[name] for name in TIMESTEPS if name in self.model}

    def build(self, device: torch.device) -> AbstractNCAModel:
        """Create the model: that of the task, or a cascade of it with weights for each scale.

        Args:
            device: Where to create its parameters.
        """
        create: Callable[..., AbstractNCAModel] = recommended_tasks()[self.task].model
        timesteps = self.timesteps() if self.scales == (1,) else {}
        return self.in_scales(create(device, **{**timesteps, **self.model}))

    def in_scales(self, model: AbstractNCAModel) -> AbstractNCAModel:
        """Return a cascade of a model, with weights for each scale; itself if there is one scale.

        Args:
            model: Model that runs at one scale.
        """
        if self.scales == (1,):
            return model
        timesteps = self.given_timesteps()
        return CascadeNCA(model, self.scales, self.steps, single_model=False, **timesteps)


def no_arguments(summary: DataSummary) -> tuple[dict[str, Any], list[str]]:  # noqa: ARG001 - others look at the data
    """Choose nothing beyond the arguments that the models of all tasks get."""
    return {}, []


@dataclass(frozen=True)
class Advice:
    """A task's advice on models that suit some data; ``advice`` of its description.

    Attributes:
        fewest_cells: Number of cells that the coarsest grid of a cascade has along its shorter
            side, at least.
        choose_arguments: Returns arguments of the model for a summary of the data, and the
            reasons, a sentence each. One that begins with the name of an argument and "=" is
            left out where that argument is given.
        has_classes: Whether labels are classes.
        patches: Whether a model for large images is better trained on patches of them.
    """

    fewest_cells: int
    choose_arguments: Callable[[DataSummary], tuple[dict[str, Any], list[str]]] = no_arguments
    has_classes: bool = True
    patches: bool = False


def recommended_tasks() -> dict[str, TaskSpec]:
    """Return the tasks that a model can be recommended for, by name.

    >>> list(recommended_tasks())[:3]
    ['classification', 'depth', 'segmentation']
    """
    known = {name: spec for name, spec in all_tasks().items() if isinstance(spec.advice, Advice)}
    return dict(sorted(known.items()))


def advice_of(task: str) -> Advice:
    """Return the advice of a task.

    Raises:
        ValueError: If the task offers no advice.
    """
    known = recommended_tasks()
    check_choice("task", task, known)
    advice: Advice = known[task].advice
    return advice


def summarize_data(
    task: str, data: Dataset[Any] | tuple[Tensor, Tensor], **known: Any
) -> DataSummary:
    """Look at data for a task: :func:`ncalab.tasks.data_summary.summarize`, with its arguments.

    Raises:
        ValueError: If the task offers no advice.
    """
    return summarize(data, has_classes=advice_of(task).has_classes, **known)


def recommend(task: str, summary: DataSummary) -> Recommendation:
    """Choose a model, its scales and its steps.

    Args:
        task: "classification", "depth", "segmentation", or the task of another package that
            has an :class:`Advice`.
        summary: What the data are like.

    Raises:
        ValueError: If the task offers no advice.
    """
    advice = advice_of(task)
    scales = choose_scales(advice.fewest_cells, summary.size)
    steps = choose_steps(summary.size, scales)
    grid = " x ".join(map(str, summary.size))
    why = (
        f"on {grid} pixels the coarse ones carry what is far away in few and cheap steps"
        if len(scales) > 1
        else f"{grid} pixels are few enough to be crossed"
    )
    reasons = [describe_scales(scales, steps, why)]
    arguments: dict[str, Any] = {
        "num_image_channels": summary.channels,
        "num_hidden_channels": 16,
        "hidden_size": 64,
        "filter_padding": "reflect",
    }
    of_the_task, further_reasons = advice.choose_arguments(summary)
    arguments |= of_the_task
    reasons += [*_reasons_of_classes(summary), *further_reasons]
    patch_size = _choose_patches(summary, max(scales)) if advice.patches else None
    return Recommendation(task, arguments, scales, steps, tuple(reasons), patch_size)


def _reasons_of_classes(summary: DataSummary) -> list[str]:
    if summary.counted is None or summary.num_classes is not None:
        return []
    return [
        f"num_classes = {len(summary.shares)}: counted in {summary.counted} of "
        f"{summary.samples:,} samples; give it if others have further classes"
    ]


def _choose_patches(summary: DataSummary, coarsest: int) -> int | None:
    size = max(_PATCH, _PATCH_CELLS * coarsest)
    # Patches have two axes.
    is_large = len(summary.size) == 2 and math.prod(summary.size) >= _PATCHES * size**2
    return size if is_large else None


def describe_patches(size: int) -> str:
    """Describe in a sentence why to train on patches of a size."""
    return (
        f"patches of {size} x {size} pixels: more and cheaper steps in the same time, half of them "
        "around a pixel of a class that is not the most common one"
    )


def recommended_model(
    task: str,
    data: Dataset[Any] | tuple[Tensor, Tensor],
    *,
    device: torch.device | str = "cpu",
    scales: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    **arguments: Any,
) -> AbstractNCAModel:
    """Create a model that suits some data: the place to begin, if nothing else is known.

    What was chosen and why is logged (level INFO, logger ``ncalab.tasks.recommend``). Train it
    with ``BasicNCATrainer(model, ..., recipe="recommended")``; large images to segment as
    :class:`ncalab.tasks.RandomPatches`.

    Classes are counted in all labels that are in memory, those of tensors and of data sets with
    ``strata`` or ``labels``, and in up to 64 samples of other data sets: these need
    ``num_classes`` if others have further classes.

    Args:
        task: "classification", "depth", "segmentation", or the task of another package that
            has an :class:`Advice`.
        data: Training data: a data set of pairs (image ``(C, W, H)``, label), or a tensor of
            images ``(N, C, W, H)`` and one of labels. Labels of classes are numbers from 0 on,
            and negative ones count for none. Size and channels are read from up to 64 samples.
        device: Where to create parameters.
        scales: Sizes of a cell in pixels, from coarse to fine, instead of the recommended ones.
        steps: Number of steps at each scale, instead of the recommended ones.
        **arguments: Arguments of the task's model, instead of the recommended ones.
            ``training_timesteps`` and ``inference_timesteps`` count the steps at all scales;
            where they are fewer than the recommended scales, the coarse scales go first.

    Returns:
        The task's model, or a cascade of it.

    Raises:
        TypeError: If the data or an argument are of another type.
        ValueError: If the task offers no advice, the data are empty, their labels cannot be
            classes, or an argument is wrong.

    >>> images = torch.rand(4, 1, 64, 48)
    >>> masks = images[:, 0] > 0.8
    >>> model = recommended_model("segmentation", (images, masks), hidden_size=32)
    >>> model.scales, model.hidden_size
    ([4, 2, 1], 32)
    """
    known = {name: arguments[name] for name in OF_THE_DATA if name in arguments}
    summary = summarize_data(task, data, **known)
    if scales is not None:
        scales = check_scales(scales, summary.size)
    chosen = overridden(recommend(task, summary), scales=scales, steps=steps, **arguments)
    for reason in chosen.reasons:
        logger.info("%s: %s", task, reason)
    if chosen.patch_size is not None:
        reason = describe_patches(chosen.patch_size)
        logger.info("%s: RandomPatches may help to train: %s", task, reason)
    return chosen.build(check_device("device", device))


def overridden(
    chosen: Recommendation,
    *,
    scales: Sequence[int] | None = None,
    steps: Sequence[int] | None = None,
    **arguments: Any,
) -> Recommendation:
    """Return a recommendation with some parts of it replaced.

    Args:
        chosen: The recommendation.
        scales: Other scales.
        steps: Other steps, one for each scale; None for those that go with their number, or with
            ``training_timesteps`` and ``inference_timesteps``, which are shared out.
        **arguments: Other arguments of the model.

    Raises:
        TypeError: If scales or steps are of another type.
        ValueError: If they are out of range, or there are not as many steps as scales.
    """
    new_scales = chosen.scales if scales is None else check_scales(scales)
    model = {**chosen.model, **arguments}
    reasons = [reason for reason in chosen.reasons if reason.split(" =")[0] not in arguments]
    # The first reason is that of scales and steps.
    why, new_steps = "", chosen.steps
    if steps is not None:
        new_steps = check_steps(steps, new_scales)
        why = "as many steps as were asked for"
    elif given := {name: arguments[name] for name in TIMESTEPS if arguments.get(name) is not None}:
        new_scales, new_steps = share_timesteps(given, new_scales, can_drop=scales is None)
        why = f"{sum(new_steps)} steps in all were asked for"
    elif scales is not None:
        new_steps = choose_steps(None, new_scales)
        why = "these scales were asked for, and the steps go with them"
    if why:
        both = scales is not None and steps is not None
        reasons[:1] = [] if both else [describe_scales(new_scales, new_steps, why)]
    return replace(chosen, model=model, scales=new_scales, steps=new_steps, reasons=tuple(reasons))
