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

logger = logging.getLogger(__name__)

_COARSEST = 8
# Steps from the coarsest of so many scales to the finest, which costs the most by far.
_STEPS = {2: (12, 6), 3: (12, 6, 4), 4: (12, 8, 6, 4)}
# Of a single scale: as many as cells from side to side, between these.
_FEWEST_STEPS, _MOST_STEPS = 4, 16
# As many samples say what the others are like.
_SAMPLES = 64
# Sides of a patch: pixels at least, and cells at the coarsest scale. Patches of images that are
# not much larger would take away what lies around, and save little.
_PATCH, _PATCH_CELLS, _PATCHES = 96, 12, 4


@dataclass(frozen=True)
class DataSummary:
    """Parts of a recommendation.

    Attributes:
        size: Width and height of the images, of the smallest one if they differ.
        channels: Number of image channels.
        shares: Share of the cells (or, of a classification, of the images) of each class, from
            class 0; empty where labels are not classes.
        samples: Number of samples.
    """

    size: tuple[int, int]
    channels: int
    shares: tuple[float, ...]
    samples: int


@dataclass(frozen=True)
class Recommendation:
    """A model for some data, and why.

    Attributes:
        task: What it is for.
        model: Arguments of the task's model.
        scales: Sizes of a cell in pixels, from coarse to fine; one scale is not a cascade.
        steps: Number of steps at each of them.
        reasons: What was chosen and why, a sentence each.
        patch_size: Side of the patches to train on; None for whole images.
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
            "training_timesteps": (steps * 3 // 4, steps * 5 // 4 + 1),
            "inference_timesteps": steps,
        }

    def build(self, device: torch.device) -> AbstractNCAModel:
        """Create the model: that of the task, or a cascade of it with weights for each scale.

        Args:
            device: Where to create its parameters.
        """
        create: Callable[..., AbstractNCAModel] = recommended_tasks()[self.task].model
        if self.scales == (1,):
            return create(device, **{**self.timesteps(), **self.model})
        model = create(device, **self.model)
        return CascadeNCA(model, self.scales, self.steps, single_model=False)


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
            reasons, a sentence each.
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


def summarize_data(task: str, data: Dataset[Any] | tuple[Tensor, Tensor]) -> DataSummary:
    """Look at the first samples of some data.

    Args:
        task: What they are for.
        data: Data set of pairs (image ``(C, W, H)``, label), or images ``(N, C, W, H)`` and
            labels, N of them.

    Raises:
        ValueError: If there are none.
    """
    pairs = _first_pairs(data)
    if not pairs:
        raise ValueError("data must hold at least one sample, got none")
    width, height = (min(int(image.shape[axis]) for image, _ in pairs) for axis in (1, 2))
    shares: tuple[float, ...] = ()
    if advice_of(task).has_classes:
        labels = torch.cat(
            [torch.as_tensor(label).reshape(-1).round().long() for _, label in pairs]
        )
        labels = labels[labels >= 0]
        shares = tuple((torch.bincount(labels).double() / max(1, len(labels))).tolist())
    count = len(data[0]) if isinstance(data, tuple) else len(data)  # type: ignore[arg-type]  # torch declares no length
    return DataSummary((width, height), int(pairs[0][0].shape[0]), shares, count)


def _first_pairs(data: Dataset[Any] | tuple[Tensor, Tensor]) -> list[tuple[Tensor, Any]]:
    """Return samples from all over the data: files may be sorted by class."""
    if isinstance(data, tuple):
        places = _places(len(data[0]))
        return [(data[0][place], data[1][place]) for place in places]
    sized: Any = data
    return [(sample[0], sample[1]) for sample in (data[place] for place in _places(len(sized)))]


def _places(count: int) -> list[int]:
    return [place * count // min(count, _SAMPLES) for place in range(min(count, _SAMPLES))]


def choose_scales(fewest_cells: int, size: Sequence[int]) -> tuple[int, ...]:
    """Choose sizes of cells for images of a size.

    Args:
        fewest_cells: Number of cells along the shorter side at the coarsest scale, at least.
        size: W and H of the images.

    >>> choose_scales(6, (28, 28)), choose_scales(12, (12, 40))
    ((4, 2, 1), (1,))
    """
    largest = min(_COARSEST, max(1, min(size) // fewest_cells))
    return tuple(2**power for power in range(int(math.log2(largest)), -1, -1))


def choose_steps(size: Sequence[int], scales: Sequence[int]) -> tuple[int, ...]:
    """Choose the number of steps at each scale for images of a size.

    >>> choose_steps((28, 28), (4, 2, 1)), choose_steps((8, 9), (1,))
    ((12, 6, 4), (8,))
    """
    if len(scales) <= 1:
        return (max(_FEWEST_STEPS, min(_MOST_STEPS, *size)),) * len(scales)
    known = _STEPS[min(len(scales), max(_STEPS))]
    return (*known, *[known[-1]] * (len(scales) - len(known)))


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
    width, height = summary.size
    grid = f"{width} x {height}"
    reasons = [
        f"cells of {', '.join(map(str, scales))} pixels in turn, {', '.join(map(str, steps))} "
        f"steps: on {grid} pixels the coarse ones carry what is far away in few and cheap steps"
        if len(scales) > 1
        else f"one scale, {steps[0]} steps: {grid} pixels are few enough to be crossed"
    ]
    arguments: dict[str, Any] = {
        "num_image_channels": summary.channels,
        "num_hidden_channels": 16,
        "hidden_size": 64,
        "filter_padding": "reflect",
    }
    of_the_task, further_reasons = advice.choose_arguments(summary)
    arguments |= of_the_task
    reasons += further_reasons
    patch_size = _choose_patches(summary, max(scales), reasons) if advice.patches else None
    return Recommendation(task, arguments, scales, steps, tuple(reasons), patch_size)


def _choose_patches(summary: DataSummary, coarsest: int, reasons: list[str]) -> int | None:
    size = max(_PATCH, _PATCH_CELLS * coarsest)
    if math.prod(summary.size) < _PATCHES * size**2:
        return None
    reasons.append(
        f"patches of {size} x {size} pixels: more and cheaper steps in the same time, half of them "
        "around a pixel of a class that is not the most common one"
    )
    return size


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
    with ``BasicNCATrainer(model, ..., recipe="recommended")``.

    Args:
        task: "classification", "depth", "segmentation", or the task of another package that
            has an :class:`Advice`.
        data: Training data: a data set of pairs (image ``(C, W, H)``, label), or a tensor of
            images ``(N, C, W, H)`` and one of labels. Size, channels and classes are read from
            up to 64 samples.
        device: Where to create parameters.
        scales: Sizes of a cell in pixels, from coarse to fine, instead of the recommended ones.
        steps: Number of steps at each scale, instead of the recommended ones.
        **arguments: Arguments of the task's model, instead of the recommended ones.

    Returns:
        The task's model, or a cascade of it.

    Raises:
        ValueError: If the task offers no advice, the data are empty, or an argument is wrong.

    >>> images, masks = torch.rand(4, 1, 64, 48), torch.zeros(4, 64, 48)
    >>> model = recommended_model("segmentation", (images, masks), hidden_size=32)
    >>> model.scales, model.hidden_size
    ([4, 2, 1], 32)
    """
    chosen = recommend(task, summarize_data(task, data))
    chosen = overridden(chosen, scales=scales, steps=steps, **arguments)
    for reason in chosen.reasons:
        logger.info("%s: %s", task, reason)
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
        steps: Other steps, one for each scale; None for those that go with their number.
        **arguments: Other arguments of the model.

    Raises:
        ValueError: If there are not as many steps as scales.
    """
    new_scales = chosen.scales if scales is None else tuple(scales)
    new_steps = chosen.steps if scales is None else choose_steps((_MOST_STEPS,), new_scales)
    new_steps = new_steps if steps is None else tuple(steps)
    if not new_scales or len(new_steps) != len(new_scales):
        raise ValueError(
            f"steps must hold one number for each of the scales {list(new_scales)}, "
            f"got {list(new_steps)}"
        )
    # The first reason is that of scales and steps.
    reasons = chosen.reasons if scales is None and steps is None else chosen.reasons[1:]
    model = {**chosen.model, **arguments}
    return replace(chosen, model=model, scales=new_scales, steps=new_steps, reasons=reasons)
