"""See whether a segmentation model knows which of its masks of nuclei are wrong.

    python examples/uncertainty_nuclei/train.py
    python examples/uncertainty_nuclei/train.py --size 32 --passes 20 --output runs/small

Nothing is trained: the model is the pretrained one of examples/segmentation_nuclei. Crops of the
half of the picture that its training never saw are segmented several times, as they are, out of
focus and at shorter exposures. Prints how well the NQM score, which sees no labels, ranks the masks
by their error; writes the risk-coverage curves and a figure of the surest and least sure crops.
"""

import argparse
import runpy
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from ncalab.core import fix_random_seed, get_compute_device
from ncalab.core.saving import check_writable_folder, free_folder
from ncalab.tasks import SegmentationNCAModel, SegmentationPrediction
from ncalab.uncertainty import (
    NQM,
    aurc,
    expected_calibration_error,
    failure_auroc,
)
from ncalab.viz import plot_risk_coverage

HERE = Path(__file__).parent
SEGMENTATION = HERE.parent / "segmentation_nuclei"
FAILURE = 0.8  # a mask with a lower Dice score is a failure

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", type=Path, default=SEGMENTATION / "pretrained" / "nucleus")
parser.add_argument("--size", type=int, default=64, help="side of a crop, at most 256")
parser.add_argument("--passes", type=int, default=10, help="predictions of each crop")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--seed", type=int, default=0, help="of the noise, and of the cells that fire")
parser.add_argument("--output", type=Path, help="folder; default: runs/uncertainty_nuclei")
parser.add_argument("--short", action="store_true", help="two passes of few crops: does it run?")
arguments = parser.parse_args()
if not 1 <= arguments.size <= 256:
    parser.error(f"--size must be in [1, 256], got {arguments.size}")
if arguments.passes < 1:
    parser.error(f"--passes must be at least 1, got {arguments.passes}")
# What the model sees is prepared as it was for its training.
nuclei = runpy.run_path(str(SEGMENTATION / "nuclei.py"))
output = arguments.output or free_folder(Path("runs/uncertainty_nuclei"))
try:
    check_writable_folder(output, name="--output")
except ValueError as problem:
    parser.error(str(problem))
fix_random_seed(arguments.seed)

package = find_spec("stardist")  # only its pictures are needed: nothing of it is imported
if package is None or not package.submodule_search_locations:
    parser.error(
        "the picture is part of the package stardist: "
        f"python -m pip install --no-deps -r {HERE / 'data.txt'}"
    )
pictures = Path(package.submodule_search_locations[0]) / "data" / "images"
counts = torch.from_numpy(np.asarray(Image.open(pictures / "img2d.tif"), dtype=np.float32))
counts = counts[:, counts.shape[1] // 2 :]  # (512, 256): the half that training never saw
labels: Tensor = nuclei["load_nuclei"](1)[2][1]  # (512, 256)


def out_of_focus(counts: Tensor, sigma: float) -> Tensor:
    """Blur an image (W, H) with a Gaussian of that deviation in pixels."""
    reach = round(3 * sigma)
    weights = torch.exp(-((torch.arange(-reach, reach + 1) / sigma) ** 2) / 2)
    weights /= weights.sum()
    blurred = F.pad(counts[None, None], [reach] * 4, mode="reflect")
    for kernel in (weights[None, None, :, None], weights[None, None, None, :]):
        blurred = F.conv2d(blurred, kernel)
    return blurred[0, 0]


def exposed(counts: Tensor, share: float) -> Tensor:
    """Redraw counts (W, H) as photons of a share of the exposure, on the scale of all of it."""
    return torch.poisson(counts * share) / share


def crops_of(x: Tensor) -> Tensor:
    """Cut the last two axes of an image or labels into crops; return them along a first axis."""
    side = arguments.size
    tiles = x.unfold(-2, side, side).unfold(-2, side, side)  # (..., w, h, size, size)
    return tiles.movedim((-4, -3), (0, 1)).flatten(0, 1)


inputs = {"as it is": counts}
inputs |= {f"out of focus, {s} px": out_of_focus(counts, s) for s in (1, 2, 4)}
inputs |= {f"exposure 1/{n}": exposed(counts, 1 / n) for n in (4, 16, 64)}
if arguments.short:
    arguments.passes = 2
    inputs = {name: inputs[name] for name in ("as it is", "exposure 1/16")}
    inputs, labels = {name: x[:128] for name, x in inputs.items()}, labels[:128]

nca = SegmentationNCAModel.from_pretrained(
    arguments.model, device=get_compute_device(arguments.device)
)
estimator = NQM(nca, arguments.passes, keep_predictions=False)
truth = crops_of(labels)  # (n, size, size)
images, scores, errors, masks, heatmaps, probabilities = [], [], [], [], [], []
for x in tqdm(inputs.values(), unit="input"):
    crops = crops_of(nuclei["to_channels"](x))  # (n, 2, size, size)
    spread = estimator.spread(crops, seed=arguments.seed)
    prediction = spread.predictions[-1]  # one of them: what a user would take
    assert isinstance(prediction, SegmentationPrediction)
    mask = prediction.mask.cpu()
    common, sizes = (mask * truth).sum((1, 2)), (mask + truth).sum((1, 2))
    images.append(crops)
    scores.append(spread.nqm[:, 0].cpu())
    errors.append(torch.where(sizes > 0, 1 - 2 * common / sizes.clamp(min=1), 0))
    masks.append(mask)
    heatmaps.append(spread.deviation[:, 0].cpu())
    probabilities.append(spread.mean.cpu())


def summary(score: Tensor, error: Tensor, area: Tensor) -> dict[str, float]:
    """Return the AURC of the score beside those of rankings that see as much, or nothing."""
    return {
        "nqm": aurc(score, error),
        "random": float(error.double().mean()),  # of all orders, on average
        "area": aurc(-area, error),  # the smaller the mask, the less sure
        "best": aurc(error, error),
    }


areas = [mask.sum((1, 2)).double() for mask in masks]
print(f"{'AURC of 1 - Dice':24}{'nqm':>8}{'random':>8}{'area':>8}{'best':>8}")
for name, *one in zip(inputs, scores, errors, areas, strict=True):
    print(f"{name:24}" + "".join(f"{value:8.4f}" for value in summary(*one).values()))
score, error, area = torch.cat(scores), torch.cat(errors), torch.cat(areas)
total = summary(score, error, area)
print(f"{'all':24}" + "".join(f"{value:8.4f}" for value in total.values()))

rankings = {"NQM": score, "area of the mask": -area}
output.mkdir(parents=True, exist_ok=True)
plot_risk_coverage(error, rankings, error_name="1 - Dice").savefig(output / "risk_coverage.png")

image, heatmap = torch.cat(images), torch.cat(heatmaps)
wrong = torch.cat([mask != truth for mask in masks])
ranked = score.argsort()
places = [0, len(ranked) // 4, len(ranked) // 2, 3 * len(ranked) // 4, len(ranked) - 1]
figure = Figure(figsize=(10, 8.6), layout="constrained")
axes = figure.subplots(4, len(places))
rows = ["contrast", "prediction", "deviation", "error"]
for column, place in enumerate(places):
    i = int(ranked[place])
    shown = [image[i, 0], torch.cat(masks)[i], heatmap[i], wrong[i]]
    ranges = [(-1, 1), (0, 1), (0, 0.5), (0, 1)]
    colours = ["gray", "gray", "inferno", "inferno"]
    for axis, x, (low, high), cmap in zip(axes[:, column], shown, ranges, colours, strict=True):
        axis.imshow(x, vmin=low, vmax=high, cmap=cmap)
        axis.set(xticks=[], yticks=[])
    condition = list(inputs)[i // len(truth)]
    axes[0, column].set_title(
        f"{condition}\nNQM {score[i]:.3f}, Dice {1 - error[i]:.3f}", fontsize=9
    )
for axis, name in zip(axes[:, 0], rows, strict=True):
    axis.set_ylabel(name)
figure.savefig(output / "crops.png", dpi=120)

failed = error > 1 - FAILURE
if failed.any() and not failed.all():
    found = failure_auroc(score, failed)
    print(f"masks with Dice < {FAILURE}: {int(failed.sum())} of {len(failed)}, AUROC {found:.4f}")
for name, p in zip(inputs, probabilities, strict=True):
    print(f"calibration error of pixels, {name}: {expected_calibration_error(p, truth):.4f}")
print(f"figures: {output}")
print("aurc: " + " ".join(f"{name}={value:.4f}" for name, value in total.items()))
