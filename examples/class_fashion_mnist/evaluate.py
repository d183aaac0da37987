"""Measure the image classifier on test images, class by class.

    python examples/class_fashion_mnist/evaluate.py
    python examples/class_fashion_mnist/evaluate.py --model runs/blood/pretrained \\
        --medmnist bloodmnist.npz

Without options, it measures the pretrained model on Fashion-MNIST's 10,000 test images, which
Debian's package dataset-fashion-mnist has, or which --data names.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from images import load_images
from torch.utils.data import DataLoader

from ncalab.core import get_compute_device
from ncalab.tasks import ClassificationNCAModel

HERE = Path(__file__).parent

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--model", type=Path, default=HERE / "pretrained", help="weights or folder")
parser.add_argument("--data", type=Path, help="folder with IDX files, such as Fashion-MNIST's")
parser.add_argument("--medmnist", type=Path, help="file of MedMNIST (.npz)")
parser.add_argument("--device", default="cpu", help="cpu, cuda, mps or auto")
arguments = parser.parse_args()

nca = ClassificationNCAModel.from_pretrained(
    arguments.model, device=get_compute_device(arguments.device)
)
images = load_images(arguments.data, arguments.medmnist, 10_000)
if images.class_names != nca.class_names:
    raise SystemExit(
        f"the images must be of the classes that the model was trained on, {nca.class_names}, "
        f"got {images.class_names} ({images.name}); name others by --data or --medmnist"
    )
loader = DataLoader(images.test, 100)
print(f"{images.name}: {len(images.test)} test images, {nca.num_trainable_parameters()} parameters")
torch.manual_seed(0)
values, _ = nca.validate(loader, keep_predictions=False)
for name, value in values.items():
    print(f"  {name}={value:.4f}")

classes = [nca.classify(batch, reduce=True, seed=0).cpu() for batch, _ in loader]
right = torch.cat(classes).numpy() == images.test.labels
for index, class_name in enumerate(images.class_names):
    print(f"  {class_name:>12}: {np.mean(right[images.test.labels == index]):.1%} recognised")
