"""The figures of nuclei: what evaluate.py prints and draws, and the card of a model states."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from nuclei import Pair, Whole, load_nuclei, whole_nuclei
from torch import Tensor
from torch.utils.data import DataLoader

from ncalab.core import AbstractNCAModel, fix_random_seed
from ncalab.tasks import CascadeNCA, SegmentationNCAModel, SegmentationPrediction
from ncalab.viz import Animator, show_image_row

Segmentation = SegmentationNCAModel | CascadeNCA


def measure(nca: Segmentation, pair: Pair, *, seed: int = 0) -> dict[str, float]:
    """Return the metrics of one image and its labels, with the cells that the seed lets fire."""
    fix_random_seed(seed)
    metrics, _ = nca.validate(DataLoader(Whole(pair)), keep_predictions=False)
    return metrics


def measure_pretrained(folder: Path) -> dict[str, float]:
    """Measure a model of pretrained/, under the names of its card.

    Returns:
        Metrics of the right half, and those of the whole picture as "<name>_whole".
    """
    nca = AbstractNCAModel.from_pretrained(folder)
    assert isinstance(nca, Segmentation)
    whole = measure(nca, whole_nuclei(nca.num_classes))
    return measure(nca, load_nuclei(nca.num_classes)[2]) | {
        f"{name}_whole": value for name, value in whole.items()
    }


def show(metrics: dict[str, float]) -> str:
    """Return metrics as text, such as "dice=0.9312 iou=0.8713"."""
    return " ".join(f"{name}={value:.4f}" for name, value in metrics.items())


def draw(nca: Segmentation, image: Tensor, labels: Tensor, path: Path) -> None:
    """Write a picture of a prediction, and an animation of how it comes about.

    Args:
        nca: Trained model.
        image: Image ``(C, W, H)`` in [0, 1].
        labels: Labels ``(W, H)``.
        path: File to write, without suffix: ".png" and ".gif" are appended.
    """
    prediction = nca.predict(image[None], seed=0)
    assert isinstance(prediction, SegmentationPrediction)
    picture = image[: 3 if len(image) >= 3 else 1].permute(1, 2, 0).clamp(0, 1).numpy()
    overlays = [np.zeros(labels.shape), labels.numpy(), prediction.mask[0].cpu().numpy()]
    height = 4 * picture.shape[0] / picture.shape[1]
    figure = Figure(figsize=(12, height), layout="constrained")
    axes = figure.subplots(1, 3)
    top = max(2, nca.num_classes - 1)
    show_image_row(axes, [picture] * 3, overlays=overlays, overlay_vmin=0, overlay_vmax=top)
    for axis, title in zip(axes, ["image", "labels", "prediction"], strict=True):
        axis.set_title(title)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(f"{path}.png", dpi=120)
    Animator(nca, image[None], overlay=True, every=2, rollout_seed=0).save(f"{path}.gif")
