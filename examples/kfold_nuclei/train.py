"""Cross-validate the segmentation of nuclei on crops of one fluorescence image.

    python examples/kfold_nuclei/train.py
    python examples/kfold_nuclei/train.py --folds 5 --epochs 60 --output runs/five

Prints mean and standard deviation of every metric over the folds, and leaves the best model of each
in pretrained/. Run again with the same --output after an interruption: folds that are finished are
not trained again.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from crops import load_crops
from figures import FOLDS

from ncalab.core import fix_random_seed, get_compute_device, unwrap
from ncalab.core.saving import check_writable_folder
from ncalab.tasks import SegmentationNCADataset, SegmentationNCAModel
from ncalab.train import BasicNCATrainer, KFoldCrossValidationTrainer

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--folds", type=int, default=FOLDS)
parser.add_argument("--epochs", type=int, default=30, help="for each fold")
parser.add_argument("--batch-size", type=int, default=6)
parser.add_argument("--lr", type=float, default=4e-3, help="learning rate; a tenth at the end")
parser.add_argument("--steps", type=int, default=24, help="of a prediction, trained from 3/4 on")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
parser.add_argument("--threads", type=int, default=1, help="of torch, for each fold")
parser.add_argument("--seed", type=int, default=1337)
parser.add_argument("--output", type=Path, default=Path("runs/kfold_nuclei"), help="folder")
parser.add_argument("--short", action="store_true", help="one epoch of few steps: does it run?")
arguments = parser.parse_args()
if arguments.short:
    arguments.epochs, arguments.steps = 1, 4
crops = load_crops()
try:
    check_writable_folder(arguments.output, name="--output")
except ValueError as error:
    parser.error(str(error))

crops.write(arguments.output / "crops")
split = crops.split(arguments.folds)
split.write(arguments.output / "splits.json", overwrite=True)


def mirror(*, image: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Mirror image (W, H, C) and mask (W, H) at random along both axes."""
    axes = [axis for axis in (0, 1) if torch.rand(()) < 0.5]
    return {"image": np.flip(image, tuple(axes)).copy(), "mask": np.flip(mask, tuple(axes)).copy()}


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
    arguments.output / "crops",
    mirror,
    {"train": arguments.batch_size, "val": 16},
    save_every=10,
    seed=arguments.seed,
    threads=arguments.threads,
)

for number, history in enumerate(histories):
    best = unwrap(history.best_model)
    best.save_pretrained(arguments.output / "pretrained" / f"fold_{number:02d}")
print(histories.table().to_string(index=False))
print(histories.info())
print(f"weights, histories and splits: {arguments.output}")
print(f"dice={histories.mean['dice']:.4f} std={histories.std['dice']:.4f}")
