"""Cross-validate the segmentation of nuclei on crops of one fluorescence image.

    python examples/kfold_nuclei/train.py
    python examples/kfold_nuclei/train.py --folds 5 --epochs 60 --output runs/five

Prints mean and standard deviation of every metric over the folds. Run again with the same --output
after an interruption: folds that are finished are not trained again.
"""

import argparse
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from ncalab.core import fix_random_seed, get_compute_device
from ncalab.core.saving import check_writable_folder
from ncalab.tasks import SegmentationNCADataset, SegmentationNCAModel
from ncalab.train import BasicNCATrainer, KFoldCrossValidationTrainer, SplitDefinition

HERE = Path(__file__).parent
CROP, REGION = 64, 128  # sides in pixels; crops of one region are kept in one fold

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--folds", type=int, default=3)
parser.add_argument("--epochs", type=int, default=30, help="for each fold")
parser.add_argument("--batch-size", type=int, default=6)
parser.add_argument("--lr", type=float, default=4e-3, help="learning rate; a tenth at the end")
parser.add_argument("--steps", type=int, default=24, help="of a prediction; 3/4 to all in training")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--threads", type=int, default=1, help="of torch, for each fold")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--output", type=Path, default=Path("runs/kfold_nuclei"), help="folder")
parser.add_argument("--short", action="store_true", help="one epoch of few steps: does it run?")
arguments = parser.parse_args()
if arguments.short:
    arguments.epochs, arguments.steps = 1, 4
try:
    check_writable_folder(arguments.output, name="--output")
except ValueError as error:
    parser.error(str(error))

package = find_spec("stardist")  # only its pictures are needed: nothing of it is imported
if package is None or not package.submodule_search_locations:
    parser.error(
        "the image is part of the package stardist: "
        f"python -m pip install --no-deps -r {HERE / 'data.txt'}"
    )
pictures = Path(package.submodule_search_locations[0]) / "data" / "images"
counts = np.asarray(Image.open(pictures / "img2d.tif"))  # (512, 512), uint16, up to 235
nuclei = np.asarray(Image.open(pictures / "mask2d.tif")) > 0  # (512, 512)
# The noise of counts is that of their root: dim and bright nuclei become alike in it.
image = (np.sqrt(counts) * 16).astype(np.uint8)

crops = arguments.output / "crops"
names, regions = [], []
for folder in ("images", "masks"):
    (crops / folder).mkdir(parents=True, exist_ok=True)
for row in range(0, image.shape[0], CROP):
    for column in range(0, image.shape[1], CROP):
        names.append(f"{row:03d}_{column:03d}.png")
        regions.append((row // REGION, column // REGION))
        place = (slice(row, row + CROP), slice(column, column + CROP))
        Image.fromarray(image[place]).save(crops / "images" / names[-1])
        Image.fromarray(nuclei[place]).save(crops / "masks" / names[-1])


def mirror(*, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Mirror image (W, H, C) and mask (W, H) at random along both axes."""
    axes = [axis for axis in (0, 1) if torch.rand(()) < 0.5]
    return {"image": np.flip(image, tuple(axes)).copy(), "mask": np.flip(mask, tuple(axes)).copy()}


# Neighbouring crops share nuclei: a random split would validate on what it has seen.
split = SplitDefinition.group(names, regions, arguments.folds)
split.write(arguments.output / "splits.json", overwrite=True)

fix_random_seed(arguments.seed)
nca = SegmentationNCAModel(
    get_compute_device(arguments.device),
    num_image_channels=1,
    num_hidden_channels=12,
    hidden_size=64,
    filter_padding="reflect",
    training_timesteps=(arguments.steps * 3 // 4, arguments.steps + 1),
    inference_timesteps=arguments.steps,
)
trainer = BasicNCATrainer(
    nca,
    arguments.output / "folds",
    lr=arguments.lr,
    lr_gamma=0.1 ** (1 / arguments.epochs),
    adam_betas=(0.9, 0.999),
    batch_repeat=1,
    max_epochs=arguments.epochs,
    gradient_normalization=True,
)
histories = KFoldCrossValidationTrainer(trainer, split).train(
    SegmentationNCADataset,
    crops,
    mirror,
    {"train": arguments.batch_size, "val": 16},
    save_every=10,
    seed=arguments.seed,
    threads=arguments.threads,
)

print(histories.table().to_string(index=False))
print(histories.info())
print(f"weights, histories and splits: {arguments.output}")
print(f"dice={histories.mean['dice']:.4f} std={histories.std['dice']:.4f}")
