"""The figures of the depth example: what evaluate.py prints and draws, and the card states."""

from pathlib import Path

import torch
from scene import Pair, Pairs, known_depths, loader, motorcycle_parts

from ncalab.core import unwrap
from ncalab.tasks import DepthNCAModel
from ncalab.tasks.depth.metrics import depth_metrics
from ncalab.viz import Animator, VisualDepthEstimation

FACTOR = 8  # the scene is shrunk by it
HEADS = {
    "ssim": "SSIM",
    "delta1": "delta<1.25",
    "mae": "MAE",
    "rmse": "RMSE",
    "abs_rel": "AbsRel",
}


def measure_constant(pairs: Pairs, depth: float, data_range: float) -> dict[str, float]:
    """Measure what always predicts the same depth."""
    metrics = depth_metrics(data_range)
    for number in range(len(pairs)):
        label = pairs[number][1][None, None]
        for metric in metrics.values():
            metric.update(torch.full_like(label, depth), label)
    return {name: float(metric.compute()) for name, metric in metrics.items()}


def measure(nca: DepthNCAModel, pairs: Pairs) -> dict[str, float]:
    """Measure a model, the same at each call."""
    torch.manual_seed(0)
    return nca.validate(loader(pairs), keep_predictions=False)[0]


def measure_pretrained(folder: Path) -> dict[str, float]:
    """Measure a model of pretrained/, under the names of its card."""
    return measure(DepthNCAModel.from_pretrained(folder), motorcycle_parts(FACTOR)[2])


def comparison(nca: DepthNCAModel, train: Pairs, test: Pairs) -> str:
    """Return the metrics of a model and of a constant depth, as a table in Markdown."""
    median = float(known_depths(train).median())
    rows = {
        f"constant {median:.2f}": measure_constant(test, median, unwrap(nca.data_range)),
        f"model, {nca.num_trainable_parameters()} weights": measure(nca, test),
    }
    lines = [f"| | {' | '.join(HEADS.values())} |", "|---|" + "---|" * len(HEADS)]
    for name, values in rows.items():
        lines.append(f"| {name} | " + " | ".join(f"{values[key]:.4f}" for key in HEADS) + " |")
    return "\n".join(lines)


def draw(nca: DepthNCAModel, pairs: Pairs, folder: Path) -> None:
    """Write image, prediction, depth and error of some pairs, and an animation of the first."""
    some = [pairs[number] for number in range(min(4, len(pairs)))]
    same: list[Pair] = [pair for pair in some if pair[1].shape == some[0][1].shape]
    images, depths = (torch.stack(parts) for parts in zip(*same, strict=True))  # (B, 4, W, H)
    prediction = nca.predict(images, seed=0)
    images[:, 3] = 1  # the row of each cell, which would be shown as its opacity
    figure = VisualDepthEstimation().show(nca, images.numpy(), prediction, depths.numpy())
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "pictures.png")
    Animator(nca, some[0][0][None], overlay=True, rollout_seed=0).save(folder / "depth.gif")
