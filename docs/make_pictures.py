"""Draw the pictures of the gallery from real runs of small models.

    pip install mlxtend scikit-image tifffile && pip install --no-deps stardist
    python docs/make_pictures.py
    python docs/make_pictures.py growing segmentation --models runs/gallery

Trains what is not in the folder of models yet (a few minutes each on one core), and writes into
docs/_static/figures. The data are those of the examples: digits of MNIST (mlxtend), nuclei of the
Data Science Bowl 2018 (stardist), the Middlebury motorcycle (scikit-image), the lizard.
"""

import argparse
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from ncalab.core import AbstractNCAModel, fix_random_seed
from ncalab.tasks import (
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)
from ncalab.train import BasicNCATrainer
from ncalab.viz import (
    Animator,
    VisualBinaryImageSegmentation,
    VisualDepthEstimation,
    VisualImageClassification,
    draw_segmentation_overlay,
    plot_confusion_matrix,
    plot_filters,
    plot_hidden_channels,
    plot_history,
    plot_risk_coverage,
    plot_rollout,
    plot_uncertainty,
)

HERE = Path(__file__).parent
CPU = torch.device("cpu")
LIMIT = 60_000


def save(figure: Figure, name: str) -> None:
    """Write a figure as a small PNG: 128 colours are enough for plots and pixels."""
    figure.savefig(temporary := arguments.output / f"{name}.png", dpi=90)
    with Image.open(temporary) as image:
        small = image.convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=1)
    small.save(temporary, optimize=True)
    report(temporary)


def report(path: Path) -> None:
    """Print the size of a picture, and insist that it is small."""
    size = path.stat().st_size
    print(f"{path.name}: {size / 1000:.0f} kB", flush=True)
    if size > LIMIT:
        raise SystemExit(f"{path} must be at most {LIMIT} bytes, got {size}")


def trained(
    nca: AbstractNCAModel,
    name: str,
    train: Sequence[Tensor],
    val: Sequence[Tensor],
    *,
    epochs: int,
    batch: int,
    lr: float = 2e-3,
) -> Path:
    """Train a model unless that was done before; load its best weights and return its folder."""
    folder = arguments.models / name
    if not (folder / "history.json").exists():
        trainer = BasicNCATrainer(
            nca,
            folder,
            lr=lr,
            lr_gamma=0.1 ** (1 / epochs),
            adam_betas=(0.9, 0.999),
            batch_repeat=1,
            max_epochs=epochs,
            gradient_normalization=True,
            progress=False,
        )
        loaders = [
            DataLoader(TensorDataset(*data), batch, shuffle=shuffle)
            for data, shuffle in ((train, True), (val, False))
        ]
        trainer.train(*loaders)
    nca.load(nca, folder / "best_model.safetensors")
    return folder


def standard_deviation(nca: AbstractNCAModel, x: Tensor, count: int = 10) -> Tensor:
    """Return how much predictions differ by which cells fire, shape ``(B, K, W, H)``."""
    seeds = range(count)
    return torch.stack([nca.interpret(nca.predict(x, seed=seed)) for seed in seeds]).std(dim=0)


def growing() -> None:
    """Show the pretrained lizard."""
    nca = GrowingNCAModel.from_pretrained(HERE.parent / "examples/growing_emoji/pretrained")
    seed = nca.make_seed(48, 48)
    save(plot_rollout(nca, seed, 64, count=7, rollout_seed=0), "rollout")
    save(plot_hidden_channels(nca.predict(seed, 64, seed=0)), "hidden_channels")
    animate(nca, seed, "animation_growing", steps=64, hidden=True)


def animate(
    nca: AbstractNCAModel, x: Tensor, name: str, *, steps: int | None = None, **options: bool
) -> None:
    """Write the last frame of an animation."""
    animator = Animator(nca, x, steps, rollout_seed=0, **options)
    *_, last = animator.images()
    path = arguments.output / f"{name}.png"
    last.quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=1).save(path, optimize=True)
    report(path)


def nuclei(count: int, columns: slice, side: int = 64) -> tuple[Tensor, Tensor]:
    """Cut crops out of a part of the fluorescence image; classes background, inside, border."""
    from skimage.segmentation import find_boundaries

    spec = find_spec("stardist")
    if spec is None or spec.origin is None:
        raise SystemExit("the nuclei are in the package stardist: pip install --no-deps stardist")
    folder = Path(spec.origin).parent / "data/images"
    picture, instances = (
        np.asarray(Image.open(folder / name))[:, columns] for name in ("img2d.tif", "mask2d.tif")
    )
    low, high = np.percentile(picture, [1, 99.8])
    picture = np.clip((picture - low) / (high - low), 0, 1).astype(np.float32)
    classes = (instances > 0).astype(np.int64)
    classes[find_boundaries(instances, mode="inner")] = 2
    corners = np.random.default_rng(columns.start or 0).integers(
        0, np.array(picture.shape) - side, (count, 2)
    )
    crops = [(slice(row, row + side), slice(column, column + side)) for row, column in corners]
    images = np.stack([picture[crop][None] for crop in crops])
    return torch.from_numpy(images), torch.from_numpy(np.stack([classes[crop] for crop in crops]))


def segmentation() -> None:
    """Segment nuclei: trained on the left half of the image, shown on the right half."""
    nca = SegmentationNCAModel(
        CPU, 1, 12, num_classes=3, hidden_size=64, training_timesteps=32, inference_timesteps=32
    )
    nca.class_names = ["background", "inside", "border"]
    x, y = nuclei(40, slice(256, None))
    folder = trained(nca, "nuclei", nuclei(160, slice(0, 256)), (x[:8], y[:8]), epochs=24, batch=8)
    prediction, heat = nca.predict(x, seed=0), standard_deviation(nca, x)
    shown = slice(0, 4)
    visual = VisualBinaryImageSegmentation()
    four = nca.predict(x[shown], seed=0)
    save(visual.show(nca, x[shown].numpy(), four, y[shown].numpy()), "segmentation")
    save(plot_uncertainty(nca, x[shown], four, heat[shown], y[shown]), "uncertainty")
    mask = four.logits.argmax(dim=1).numpy()
    tinted = [
        draw_segmentation_overlay(image, classes, "dark")
        for image, classes in zip(x[shown].numpy(), mask, strict=True)
    ]
    picture = np.concatenate(tinted, axis=1).repeat(3, axis=0).repeat(3, axis=1)
    path = arguments.output / "overlay.png"
    Image.fromarray(np.uint8(np.round(picture * 255))).quantize(128).save(path, optimize=True)
    report(path)
    wrong = (prediction.logits.argmax(dim=1) != y).float().mean(dim=(1, 2))
    foreground = (prediction.logits.argmax(dim=1) > 0).float().mean(dim=(1, 2))
    scores = {"standard deviation": heat.mean(dim=(1, 2, 3)), "foreground area": foreground}
    save(plot_risk_coverage(wrong, scores, error_name="share of wrong cells"), "risk_coverage")
    save(plot_history(folder), "history")
    save(plot_filters(nca, max_channels=10), "filters")
    animate(nca, x[:1], "animation_segmentation", overlay=True, show_input=True, hidden=True)


def digits() -> None:
    """Let cells vote on the digit that they are part of."""
    from mlxtend.data import mnist_data

    pixels, labels = mnist_data()
    order = np.random.default_rng(0).permutation(len(pixels))
    x = torch.from_numpy(pixels[order].reshape(-1, 1, 28, 28).astype(np.float32) / 255)
    y = torch.from_numpy(labels[order].astype(np.int64))
    nca = ClassificationNCAModel(
        CPU,
        1,
        12,
        num_classes=10,
        hidden_size=64,
        pixel_wise_loss=True,
        training_timesteps=20,
        inference_timesteps=20,
    )
    trained(nca, "digits", (x[:4000], y[:4000]), (x[4000:4200], y[4000:4200]), epochs=3, batch=16)
    prediction = nca.predict(x[4200:4207], seed=0)
    figure = VisualImageClassification().show(
        nca, x[4200:4207].numpy(), prediction, y[4200:4207].numpy()
    )
    save(figure, "classification")
    save(plot_rollout(nca, x[4200:4203], count=7, style="dark", rollout_seed=0), "cells")
    predicted = nca.classify(x[4200:], reduce=True)
    matrix = torch.zeros(10, 10, dtype=torch.int64)
    matrix.index_put_((y[4200:], predicted), torch.tensor(1), accumulate=True)
    save(plot_confusion_matrix(matrix), "confusion_matrix")
    animate(nca, x[4203:4204], "animation_digits", overlay=True, show_input=True)


def depth() -> None:
    """Estimate the depth of one scene: trained on its left part, shown on its right part."""
    from skimage.data import stereo_motorcycle
    from skimage.transform import resize

    left, _, disparity = stereo_motorcycle()
    meters = 994.978 * 0.193001 / (disparity + 31.086)
    image = resize(left, (125, 185), anti_aliasing=True).astype(np.float32).transpose(2, 0, 1)
    known = resize(meters, (125, 185), order=0, anti_aliasing=False).astype(np.float32)

    def crops(count: int, columns: tuple[int, int]) -> tuple[Tensor, Tensor]:
        rng = np.random.default_rng(columns[0])
        rows, starts = rng.integers(0, 125 - 64, count), rng.integers(*columns, count)
        places = [np.s_[..., r : r + 64, c : c + 64] for r, c in zip(rows, starts, strict=True)]
        images, depths = ([array[place] for place in places] for array in (image, known))
        return torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(depths))

    nca = DepthNCAModel(
        CPU, 3, 12, hidden_size=64, training_timesteps=32, inference_timesteps=32, depth_scale=3.0
    )
    x, y = crops(4, (111, 121))
    trained(nca, "depth", crops(160, (0, 47)), (x, y), epochs=10, batch=8)
    figure = VisualDepthEstimation().show(nca, x.numpy(), nca.predict(x, seed=0), y.numpy())
    save(figure, "depth")
    animate(nca, x[:1], "animation_depth", overlay=True, show_input=True)


SECTIONS = {
    "growing": growing,
    "segmentation": segmentation,
    "digits": digits,
    "depth": depth,
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("sections", nargs="*", help=f"any of {', '.join(SECTIONS)}; all by default")
parser.add_argument("--models", type=Path, default=Path("runs/gallery"), help="trained models")
parser.add_argument("--output", type=Path, default=HERE / "_static/figures", help="pictures")
arguments = parser.parse_args()
if unknown := set(arguments.sections) - set(SECTIONS):
    parser.error(f"sections must be any of {', '.join(SECTIONS)}, got {', '.join(unknown)}")
arguments.output.mkdir(parents=True, exist_ok=True)
for section in arguments.sections or SECTIONS:
    fix_random_seed()
    SECTIONS[section]()
