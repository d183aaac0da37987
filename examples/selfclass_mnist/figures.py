"""The figures of self-classifying digits: what evaluate.py prints and a card states."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from digits import examples_of_each, load_digits
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, interpret_range_parameter
from ncalab.tasks import CascadeNCA, ClassificationDataset
from ncalab.viz import Animator, VisualImageClassification, plot_rollout


def measure(
    nca: AbstractNCAModel, digits: ClassificationDataset, times: Sequence[int] = (1, 2, 4)
) -> dict[str, float]:
    """Measure right away, and after a long time; the same at each call.

    Args:
        nca: Trained cells.
        digits: Digits to classify.
        times: Multiples of the number of steps that the model predicts with.

    Returns:
        Metrics by name and number of steps, such as "f1_step_20".
    """
    values: dict[str, float] = {}
    for factor in times:
        steps = factor * interpret_range_parameter(nca.inference_timesteps)
        torch.manual_seed(0)
        metrics, _ = nca.validate(DataLoader(digits, 100), steps, keep_predictions=False)
        values |= {f"{name}_step_{steps}": value for name, value in metrics.items()}
    return values


def measure_pretrained(folder: Path) -> dict[str, float]:
    """Measure cells of pretrained/, under the names of their card."""
    return measure(CascadeNCA.from_pretrained(folder), load_digits(None)[1], times=(1, 4))


def draw(nca: AbstractNCAModel, digits: ClassificationDataset, folder: Path) -> None:
    """Write how cells of some digits agree, what they say in the end, and an animation."""
    some = examples_of_each(digits)[2:]  # (8, 1, W, H)
    plot_rollout(nca, some, count=7, style="dark", rollout_seed=0).savefig(folder / "rollout.png")
    prediction = nca.predict(some, seed=0)
    figure = VisualImageClassification().show(nca, some.numpy(), prediction, np.arange(2, 10))
    figure.savefig(folder / "digits.png")
    steps = 2 * interpret_range_parameter(nca.inference_timesteps)
    Animator(nca, some, steps, overlay=True, show_input=True, rollout_seed=0).save(
        folder / "digits.gif"
    )
